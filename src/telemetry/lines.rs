//! Lines on their way to standard output or standard error, written by a thread of their own. Separate from those who have
//! something to say, since none of them may ever wait for the reader: a pipe that nobody reads, a disk that is full or hangs.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::access;
use crate::lock::Locked;

/// What may wait to be written, in bytes. The memory is taken as it is used.
const ROOM: usize = 4 * 1024 * 1024;
/// What access lines leave of it to others: a flood of requests must not push out the warning that explains it.
const RESERVED: usize = 256 * 1024;
/// Lines are gathered for so long, so that a busy gateway makes few system calls.
const GATHER: Duration = Duration::from_millis(20);
/// So many bytes are written without waiting for more: few enough to be still in the processor's cache, and to leave a worker's
/// own there.
const PLENTY: usize = 64 * 1024;
/// How often a descriptor that somebody has made non-blocking is tried again.
const AGAIN: Duration = Duration::from_millis(10);
/// The longest that the end of the process waits for the rest to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A log event.
    Log,
    /// A request's or a connection's event of the access log.
    Access,
    /// What an operator is told on standard error.
    Notice,
}

impl Kind {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Log, Self::Access, Self::Notice];

    /// Its label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Access => "access",
            Self::Notice => "notice",
        }
    }
}

/// Lines for one descriptor; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Locked<Queue>,
    /// The writing thread, once it runs.
    writer: OnceLock<Thread>,
    /// Whether somebody waits for all of it to be written.
    hurry: AtomicBool,
    dropped: [AtomicU64; Kind::ALL.len()],
}

#[derive(Debug)]
struct Queue {
    batch: Batch,
    writer: At,
}

/// Where the writing thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It waits for the next line, however long that takes.
    Rest,
    /// It writes, or gathers lines for a moment.
    Work,
}

/// Lines, and where each of them ends.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<(usize, Kind)>,
}

impl Batch {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(ROOM), ends: Vec::new() }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Whether there was room.
    fn push(&mut self, kind: Kind, line: &[u8]) -> bool {
        let room = match kind {
            Kind::Access => ROOM - RESERVED,
            Kind::Log | Kind::Notice => ROOM,
        };
        let has_room = self.bytes.len() + line.len() <= room;
        if has_room {
            self.bytes.extend_from_slice(line);
            self.ends.push((self.bytes.len(), kind));
        }
        has_room
    }
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(name: &str, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Locked::new(Queue { batch: Batch::new(), writer: At::Work }),
            writer: OnceLock::new(),
            hurry: AtomicBool::new(false),
            dropped: Default::default(),
        });
        let writer = Writer { shared: Arc::clone(&shared), sink, is_torn: false };
        let thread = thread::Builder::new().name(name.into()).spawn(move || writer.run())?;
        // Until it is known, the thread looks for lines by itself.
        shared.writer.set(thread.thread().clone()).ok();
        Ok(Self(shared))
    }

    /// Queues a line, which ends with a line feed, or drops and counts it where there is no room. Never waits.
    pub fn push(&self, kind: Kind, line: &[u8]) {
        let pushed = self.0.queue.with(|Queue { batch, writer }| {
            let before = batch.bytes.len();
            let has_plenty = before < PLENTY && before + line.len() >= PLENTY;
            let is_awaited = std::mem::replace(writer, At::Work) == At::Rest;
            batch.push(kind, line).then_some(is_awaited || has_plenty)
        });
        match pushed {
            None => self.0.drop_one(kind),
            Some(true) => self.0.wake(),
            Some(false) => {}
        }
    }

    /// Lines of `kind` that were never written.
    pub fn dropped(&self, kind: Kind) -> u64 {
        self.0.dropped[kind as usize].load(Ordering::Relaxed)
    }

    /// Has what is queued written, and waits for that, a second at most.
    pub fn flush(&self) {
        self.flush_until(Instant::now() + FAREWELL);
    }

    /// Has the writing thread look whether there is something to do.
    pub(super) fn wake(&self) {
        self.0.wake();
    }

    fn flush_until(&self, deadline: Instant) {
        self.0.hurry.store(true, Ordering::Release);
        while self.0.queue.with(|queue| queue.writer) == At::Work && Instant::now() < deadline {
            self.0.wake();
            thread::sleep(Duration::from_millis(1));
        }
        self.0.hurry.store(false, Ordering::Release);
    }
}

impl Shared {
    fn wake(&self) {
        self.writer.get().into_iter().for_each(Thread::unpark);
    }

    fn drop_one(&self, kind: Kind) {
        self.dropped[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread that writes.
struct Writer<S> {
    shared: Arc<Shared>,
    sink: S,
    /// Whether the last line that was begun has no end.
    is_torn: bool,
}

impl<S: Write> Writer<S> {
    fn run(mut self) {
        let mut batch = Batch::new();
        loop {
            let at = self.shared.queue.with(|queue| {
                std::mem::swap(&mut queue.batch, &mut batch);
                queue.writer = if batch.ends.is_empty() { At::Rest } else { At::Work };
                queue.writer
            });
            match at {
                At::Rest => {
                    self.serve();
                    self.rest();
                }
                At::Work => {
                    self.write(&batch);
                    batch.clear();
                    // Under load there is no rest, and the sleep below may take the token of a request.
                    self.serve();
                    if !self.shared.hurry.load(Ordering::Acquire) {
                        thread::park_timeout(GATHER);
                    }
                }
            }
        }
    }

    /// Lets the sink do what it was asked to. It has no bytes of its own to lose.
    fn serve(&mut self) {
        self.sink.flush().ok();
    }

    fn rest(&self) {
        match self.shared.writer.get() {
            Some(_) => thread::park(),
            None => thread::park_timeout(GATHER),
        }
    }

    /// Writes all of `batch`; what can't be written is dropped, from the line on at which that is noticed.
    fn write(&mut self, batch: &Batch) {
        let written = self.write_bytes(&batch.bytes);
        let first_lost = batch.ends.partition_point(|(end, _)| *end <= written);
        batch.ends[first_lost..].iter().for_each(|(_, kind)| self.shared.drop_one(*kind));
        let line_start = first_lost.checked_sub(1).map_or(0, |last| batch.ends[last].0);
        self.is_torn |= written > line_start;
    }

    /// How many of `bytes` were written.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        if self.is_torn {
            // The next line must not look like the rest of one that was lost.
            if self.write_some(b"\n") == 0 {
                return 0;
            }
            self.is_torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(&bytes[written..]) {
                0 => break,
                more => written += more,
            }
        }
        written
    }

    /// One write; 0 when nothing can be written.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        loop {
            match self.sink.write(bytes) {
                Ok(written) => return written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Others may share the descriptor, and have made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
                Err(_) => return 0,
            }
        }
    }
}

static OUTPUT: OnceLock<Lines> = OnceLock::new();
static NOTICES: OnceLock<Lines> = OnceLock::new();

/// Standard output of this process.
///
/// # Errors
/// When no thread can be started, or no descriptor is left.
pub fn output() -> io::Result<&'static Lines> {
    started(&OUTPUT, "stdout", io::stdout())
}

/// Standard error of this process.
///
/// # Errors
/// As [`output`].
pub fn notices() -> io::Result<&'static Lines> {
    started(&NOTICES, "stderr", io::stderr())
}

/// The descriptor itself: what the standard library has around it takes a lock, and cuts lines in pieces.
fn started(lines: &'static OnceLock<Lines>, name: &str, stream: impl AsFd) -> io::Result<&'static Lines> {
    if let Some(lines) = lines.get() {
        return Ok(lines);
    }
    let started = Lines::start(name, File::from(stream.as_fd().try_clone_to_owned()?))?;
    Ok(lines.get_or_init(|| started))
}

/// Has all that this process has to say written, and waits for that, a second at most.
pub fn flush() {
    let deadline = Instant::now() + FAREWELL;
    all().for_each(|lines| lines.flush_until(deadline));
}

/// Lines of `kind` that this process never wrote.
pub fn dropped(kind: Kind) -> u64 {
    all().map(|lines| lines.dropped(kind)).sum()
}

/// Those of this process.
fn all() -> impl Iterator<Item = &'static Lines> {
    OUTPUT.get().into_iter().chain(NOTICES.get()).chain(access::file::lines())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// So many bytes, or none and an error.
    type Allowed = Result<usize, ErrorKind>;
    type Taken = Arc<Locked<Vec<u8>>>;

    /// Takes what each message allows.
    struct Valve {
        allowed: Receiver<Allowed>,
        taken: Taken,
    }

    impl Write for Valve {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let allowed = self.allowed.recv().map_err(|_| ErrorKind::BrokenPipe)??;
            let taken = allowed.min(bytes.len());
            self.taken.with(|all| all.extend_from_slice(&bytes[..taken]));
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn valve() -> (Lines, Sender<Allowed>, Taken) {
        let (allow, allowed) = channel();
        let taken = Taken::default();
        let lines = Lines::start("test", Valve { allowed, taken: Arc::clone(&taken) }).unwrap();
        (lines, allow, taken)
    }

    fn text(taken: &Locked<Vec<u8>>) -> String {
        taken.with(|taken| String::from_utf8(taken.clone()).unwrap())
    }

    #[test]
    fn lines_leave_in_their_order_and_whole_whatever_the_writes_take() {
        let (lines, allow, taken) = valve();
        for kind in [Kind::Log, Kind::Access, Kind::Notice] {
            lines.push(kind, format!("{}\n", kind.name()).as_bytes());
        }
        for allowed in
            [Ok(1), Err(ErrorKind::Interrupted), Ok(3), Err(ErrorKind::WouldBlock), Ok(100), Ok(100), Ok(100)]
        {
            allow.send(allowed).unwrap();
        }
        lines.flush();
        assert_eq!(text(&taken), "log\naccess\nnotice\n");
        assert_eq!(Kind::ALL.map(|kind| lines.dropped(kind)), [0, 0, 0]);
    }

    #[test]
    fn what_can_t_be_written_is_counted_to_the_line_and_no_line_is_glued_to_a_torn_one() {
        let (lines, allow, taken) = valve();
        // As a disk that is full in the middle of the second line.
        for (kind, line) in [(Kind::Log, "first\n"), (Kind::Access, "torn\n"), (Kind::Log, "lost\n")] {
            lines.push(kind, line.as_bytes());
        }
        for allowed in [Ok("first\n".len()), Ok("to".len()), Err(ErrorKind::StorageFull)] {
            allow.send(allowed).unwrap();
        }
        lines.flush();
        let lost = [1, 1, 0];
        assert_eq!(Kind::ALL.map(|kind| lines.dropped(kind)), lost);
        lines.push(Kind::Log, b"last\n");
        (0..3).for_each(|_| allow.send(Ok(100)).unwrap());
        lines.flush();
        assert_eq!(text(&taken), "first\nto\nlast\n");
        assert_eq!(Kind::ALL.map(|kind| lines.dropped(kind)), lost);
    }

    #[test]
    fn who_has_something_to_say_never_waits_and_access_lines_leave_room_for_the_log() {
        let (lines, allow, taken) = valve();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let begun = Instant::now();
        // Nobody reads: the first batch stays with the writer, and the second is queued.
        let pushed = 3 * ROOM / line.len();
        (0..pushed).for_each(|_| lines.push(Kind::Access, &line));
        lines.push(Kind::Log, b"the reason\n");
        let dropped = usize::try_from(lines.dropped(Kind::Access)).unwrap();
        assert!(dropped >= pushed - 2 * (ROOM - RESERVED) / line.len(), "{dropped}");
        assert_eq!(lines.dropped(Kind::Log), 0);
        lines.flush();
        assert!(begun.elapsed() < FAREWELL + Duration::from_secs(4), "it waits for the reader");
        // Once somebody does, nothing else is missing.
        (0..100).for_each(|_| allow.send(Ok(ROOM)).unwrap());
        lines.flush();
        assert_eq!(text(&taken).lines().count(), pushed - dropped + 1);
        assert!(text(&taken).ends_with("the reason\n"));
    }

    #[test]
    fn a_line_is_soon_written_when_nothing_follows() {
        let (told, hears) = channel();
        struct Told(Sender<usize>);
        impl Write for Told {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(bytes.len()).map_err(|_| ErrorKind::BrokenPipe)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::start("test", Told(told)).unwrap();
        for _ in 0..50 {
            lines.push(Kind::Log, b"x\n");
            assert_eq!(hears.recv_timeout(Duration::from_secs(10)), Ok(2));
        }
    }
}
