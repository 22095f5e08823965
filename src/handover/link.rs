//! The Unix socket between the two processes: descriptors first, then texts, each with its length. Blocking, since nobody
//! has anything else to do until it is over; but a process that says its text byte by byte is waited for no longer than one
//! that says nothing.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors that go at once; the kernel takes up to 253.
const AT_ONCE: usize = 128;
/// Bytes that are written at once: the kernel begins its wait again with each few that the other end takes.
const PIECE: usize = 64 * 1024;
/// A text that is longer is none of ours: ten million channels have no more.
const LONGEST: u32 = 1 << 30;

/// Why nothing comes.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The system's word.
    #[error("the socket between the two processes fails")]
    Io(#[source] io::Error),
    /// Nothing has come for as long as that may take.
    #[error("the other process says nothing")]
    Silent,
    /// It takes nothing of what this end says, which has hung up.
    #[error("the other process takes nothing, so that nothing more is said to it")]
    HungUp,
    /// The other has ended, or hangs up.
    #[error("the other process has ended")]
    Gone,
    /// It says something else than it should.
    #[error("the other process is of another version")]
    Other(#[from] serde_json::Error),
    /// It says no texts at all.
    #[error("the other process is of another version, or does not hear this user")]
    Strange,
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        let is_silence = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if is_silence { Self::Silent } else { Self::Io(error) }
    }
}

/// One end.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    reader: BufReader<Reader>,
    patience: Duration,
    /// Whether this end has hung up.
    hung_up: Arc<AtomicBool>,
}

/// What reads, up to a point in time.
#[derive(Debug)]
struct Reader {
    stream: UnixStream,
    /// How long a whole text may take; `None`: for ever.
    patience: Option<Duration>,
    deadline: Option<Instant>,
}

impl Reader {
    /// Another text is read from now on.
    fn begin(&mut self) {
        self.deadline = self.patience.map(|patience| Instant::now() + patience);
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
        }
        self.stream.read(buffer)
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl Link {
    /// `stream`, of which nothing has been read yet. Nothing that is said, either way, may take longer than `patience`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let reader = Reader { stream: stream.try_clone()?, patience: Some(patience), deadline: None };
        Ok(Self { stream, reader: BufReader::new(reader), patience, hung_up: Arc::default() })
    }

    /// Waits for what the other says for ever from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_for_ever(&mut self) -> io::Result<()> {
        self.reader.get_mut().patience = None;
        self.stream.set_read_timeout(None)
    }

    /// The other half, for another thread: what is sent there goes the same way.
    ///
    /// # Errors
    /// The system's.
    pub fn speaker(&self) -> io::Result<Speaker> {
        let hung_up = Arc::clone(&self.hung_up);
        Ok(Speaker { stream: self.stream.try_clone()?, patience: self.patience, hung_up })
    }

    /// Sends these, which come before every text.
    ///
    /// # Errors
    /// The system's.
    pub fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut left = descriptors;
        loop {
            let (now, later) = left.split_at(left.len().min(AT_ONCE));
            let count = u32::try_from(later.len()).map_err(io::Error::other)?.to_be_bytes();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !now.is_empty() && !control.push(SendAncillaryMessage::ScmRights(now)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            retry_on_intr(|| sendmsg(&self.stream, &[IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL))?;
            if later.is_empty() {
                return Ok(());
            }
            left = later;
        }
    }

    /// What the other has sent by [`Link::send_descriptors`], in that order.
    ///
    /// # Errors
    /// When it has sent something else, or nothing.
    pub fn receive_descriptors(&self) -> Result<Vec<OwnedFd>, LinkError> {
        let mut descriptors = Vec::new();
        loop {
            let mut count = [0; 4];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let read = retry_on_intr(|| recvmsg(&self.stream, &mut [IoSliceMut::new(&mut count)], &mut control, flags));
            let read = read.map_err(io::Error::from)?.bytes;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(batch) = message {
                    descriptors.extend(batch);
                }
            }
            match (read, u32::from_be_bytes(count)) {
                (0, _) => return Err(LinkError::Gone),
                (4, 0) => return Ok(descriptors),
                (4, left) if left < LONGEST => {}
                (_, _) => return Err(LinkError::Strange),
            }
        }
    }

    /// Sends all of `texts`.
    ///
    /// # Errors
    /// The system's.
    pub fn send<T: Serialize>(&self, texts: impl IntoIterator<Item = T>) -> io::Result<()> {
        send(&self.stream, self.patience, texts)
    }

    /// The next text as it came.
    ///
    /// # Errors
    /// When there is none.
    pub fn receive_raw(&mut self) -> Result<Vec<u8>, LinkError> {
        self.reader.get_mut().begin();
        if self.is_over()? {
            let is_ours = self.hung_up.load(Ordering::Acquire);
            return Err(if is_ours { LinkError::HungUp } else { LinkError::Gone });
        }
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(LinkError::Strange);
        }
        let mut text = Vec::new();
        let read = self.reader.by_ref().take(length.into()).read_to_end(&mut text)?;
        if u32::try_from(read) != Ok(length) {
            return Err(LinkError::Gone);
        }
        Ok(text)
    }

    /// Waits for the next byte. Where a wait has an end, a process that is stopped and goes on finds it interrupted.
    fn is_over(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next text.
    ///
    /// # Errors
    /// When there is none, or it means nothing here.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        Ok(serde_json::from_slice(&self.receive_raw()?)?)
    }
}

/// What only sends.
#[derive(Debug)]
pub struct Speaker {
    stream: UnixStream,
    patience: Duration,
    hung_up: Arc<AtomicBool>,
}

impl Speaker {
    /// As [`Link::send`]. One that takes too little in that time is hung up on: nothing is heard at either end from then on, since
    /// what came half would be misunderstood.
    ///
    /// # Errors
    /// The system's.
    pub fn send<T: Serialize>(&self, texts: impl IntoIterator<Item = T>) -> io::Result<()> {
        let sent = send(&self.stream, self.patience, texts);
        if let Err(error) = &sent {
            let is_gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
            self.hung_up.store(!is_gone, Ordering::Release);
            // The error says that the other has done so.
            drop(self.stream.shutdown(Shutdown::Both));
        }
        sent
    }
}

fn send<T: Serialize>(
    mut stream: &UnixStream,
    patience: Duration,
    texts: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for text in texts {
        let start = bytes.len();
        bytes.extend([0; 4]);
        serde_json::to_writer(&mut bytes, &text)?;
        let length = u32::try_from(bytes.len() - start - 4).map_err(io::Error::other)?;
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    let (deadline, mut rest) = (Instant::now() + patience, &*bytes);
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(&rest[..rest.len().min(PIECE)]) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Link, Link) {
        let (one, two) = UnixStream::pair().unwrap();
        let patience = Duration::from_secs(10);
        (Link::new(one, patience).unwrap(), Link::new(two, patience).unwrap())
    }

    #[test]
    fn descriptors_and_texts_arrive_in_order_however_many_they_are() {
        for count in [0, 1, AT_ONCE, 2 * AT_ONCE + 3] {
            let (giver, mut taker) = pair();
            let files: Vec<File> = (0..count).map(|_| tempfile::tempfile().unwrap()).collect();
            for (index, mut file) in files.iter().enumerate() {
                write!(file, "{index}").unwrap();
            }
            let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            giver.send_descriptors(&descriptors).unwrap();
            giver.send(["one", "two"]).unwrap();
            giver.send([vec![3]]).unwrap();
            drop(giver);
            let got = taker.receive_descriptors().unwrap();
            assert_eq!(got.len(), count);
            for (index, descriptor) in got.into_iter().enumerate() {
                let mut file = File::from(descriptor);
                // They share the place at which is read.
                io::Seek::rewind(&mut file).unwrap();
                assert_eq!(io::read_to_string(file).unwrap(), index.to_string());
            }
            assert_eq!(taker.receive::<String>().unwrap(), "one");
            assert_eq!(taker.receive::<String>().unwrap(), "two");
            assert_eq!(taker.receive::<Vec<u8>>().unwrap(), [3]);
            assert!(matches!(taker.receive::<String>(), Err(LinkError::Gone)));
        }
    }

    #[test]
    fn one_that_drips_is_waited_for_no_longer_than_one_that_says_nothing() {
        for says in [b"".as_slice(), b"x"] {
            let (one, two) = UnixStream::pair().unwrap();
            let mut link = Link::new(one, Duration::from_millis(200)).unwrap();
            let dripping = std::thread::spawn(move || {
                // A text of 1 MiB. The error says that the other end has gone.
                let mut said = (&two).write_all(&(1_u32 << 20).to_be_bytes());
                while said.is_ok() && !says.is_empty() {
                    std::thread::sleep(Duration::from_millis(10));
                    said = (&two).write_all(says);
                }
                two
            });
            let begun = Instant::now();
            assert!(matches!(link.receive_raw(), Err(LinkError::Silent)));
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
            drop(link);
            drop(dripping.join());
        }
    }

    #[test]
    fn one_that_takes_little_is_waited_for_no_longer_than_one_that_takes_nothing() {
        for takes in [0, 512] {
            let (one, mut two) = UnixStream::pair().unwrap();
            let link = Link::new(one, Duration::from_millis(200)).unwrap();
            let taking = std::thread::spawn(move || {
                while takes > 0 && two.read(&mut vec![0; takes]).is_ok_and(|read| read > 0) {
                    // Slow enough for all of it to take minutes.
                    std::thread::sleep(Duration::from_millis(10));
                }
                two
            });
            let begun = Instant::now();
            let error = link.send([vec![0; 8 << 20]]).unwrap_err();
            assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
            drop(link);
            drop(taking.join());
        }
    }

    #[test]
    fn one_that_takes_nothing_is_hung_up_on_and_told_from_one_that_has_gone() {
        for is_there in [true, false] {
            let (one, two) = UnixStream::pair().unwrap();
            let mut link = Link::new(one, Duration::from_millis(100)).unwrap();
            let speaker = link.speaker().unwrap();
            let two = is_there.then_some(two);
            assert!(speaker.send([vec![0; 8 << 20]]).is_err());
            let error = link.receive_raw().unwrap_err();
            assert_eq!(matches!(error, LinkError::HungUp), is_there, "{error}");
            drop(two);
        }
    }

    #[test]
    fn what_is_none_of_ours_is_noticed() {
        for (said, strange) in [(&b"{\"refused\":\"not understood\"}\n"[..], true), (b"", false), (b"\0\0", true)] {
            let (giver, taker) = pair();
            (&giver.stream).write_all(said).unwrap();
            drop(giver);
            let error = taker.receive_descriptors().unwrap_err();
            assert_eq!(matches!(error, LinkError::Strange), strange, "{said:?}: {error}");
        }
        for said in [&b"\xff\xff\xff\xff{}"[..], b"\0\0\0\x09{}", b"\0\0\0\x02{]", b"\0"] {
            let (giver, mut taker) = pair();
            (&giver.stream).write_all(said).unwrap();
            drop(giver);
            assert!(taker.receive::<Vec<u8>>().is_err(), "{said:?}");
        }
    }
}
