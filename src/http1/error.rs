//! What is wrong with a message. One place, because both directions and the trailers share most of the reasons, and
//! because the answer to each is decided by kind.

use http::StatusCode;

/// A field section that is not of RFC 9112 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A line that begins with a colon.
    #[error("a field line has no name")]
    EmptyName,
    /// A name that is no token, or a line without a colon.
    #[error("a field name is no token, or no colon follows it")]
    Name,
    /// Whitespace between the name and its colon.
    #[error("whitespace stands before a field's colon")]
    SpaceBeforeColon,
    /// A line that begins with whitespace: obsolete line folding.
    #[error("a field line begins with whitespace")]
    Fold,
    /// A CR that no LF follows.
    #[error("a CR stands without its LF")]
    BareCr,
    /// An LF that no CR precedes.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// NUL or another control.
    #[error("a control byte in a field value")]
    Control,
    /// More field lines than the limit.
    #[error("too many fields")]
    TooMany,
}

/// Framing that two readers could take in two ways (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Content-Length and Transfer-Encoding in one message.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// A Content-Length that is no plain number below 2^63.
    #[error("Content-Length is no plain number")]
    Length,
    /// More than one Content-Length in a request, equal or not.
    #[error("several Content-Length fields")]
    SeveralLengths,
    /// Lengths in an answer that are not equal.
    #[error("Content-Length contradicts itself")]
    DifferentLengths,
    /// A Transfer-Encoding other than `chunked`.
    #[error("Transfer-Encoding is not chunked")]
    Coding,
    /// More than one Transfer-Encoding.
    #[error("several Transfer-Encoding fields")]
    SeveralCodings,
    /// A Transfer-Encoding that frames a body in HTTP/1.0.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    /// A body announced in a 1xx answer, behind which the final answer would begin.
    #[error("an interim answer announces a body")]
    BodyWithoutContent,
}

/// Why a request is refused. The connection can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than two empty lines before the request line.
    #[error("more than two empty lines stand before the request line")]
    EmptyLines,
    /// The method is no token that one space follows.
    #[error("the request line does not begin with a method and one space")]
    Method,
    /// CONNECT, TRACE or TRACK.
    #[error("CONNECT, TRACE and TRACK are not served")]
    UnservedMethod,
    /// What HTTP/2 begins with.
    #[error("HTTP/2 is not served here, but HTTP/1.1")]
    Http2,
    /// A target of another form, with other bytes, or not between single spaces.
    #[error("the request target is neither a path nor an https URL, or holds a byte that must be escaped")]
    Target,
    /// The request line does not end in an HTTP version.
    #[error("the request line does not end in one space and an HTTP version")]
    Version,
    /// The request line ends behind its target, as in HTTP/0.9.
    #[error("the request line names no HTTP version, as in HTTP/0.9, which is not served")]
    NoVersion,
    /// A well-formed version of another kind than 1.x.
    #[error("this version of HTTP is not served, 1.0 and 1.1 are")]
    UnknownVersion,
    /// The request line alone is longer than a head may be.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is longer than a head may be.
    #[error("the head is too long")]
    HeadTooLong,
    /// A malformed field section.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// Ambiguous framing.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// No Host field in HTTP/1.1.
    #[error("there is no Host field, and only HTTP/1.0 may be without one")]
    NoHost,
    /// More than one Host field.
    #[error("there are several Host fields")]
    SeveralHosts,
    /// A Host that is not a name or address with an optional port.
    #[error("the Host is no name or address with an optional port")]
    Host,
    /// An absolute-form target whose authority is not the Host.
    #[error("the request target contradicts the Host field")]
    HostMismatch,
    /// An Expect other than one `100-continue`.
    #[error("Expect is something else than one 100-continue")]
    Expectation,
}

impl Refusal {
    /// The status of the answer: 400, 405, 414, 417, 431 or 505.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::EmptyLines
            | Self::Method
            | Self::Http2
            | Self::Target
            | Self::Version
            | Self::NoVersion
            | Self::Framing(_)
            | Self::NoHost
            | Self::SeveralHosts
            | Self::Host
            | Self::HostMismatch => StatusCode::BAD_REQUEST,
            Self::UnservedMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Fields(error) => error.status(),
            Self::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        }
    }
}

impl FieldError {
    fn status(self) -> StatusCode {
        match self {
            Self::TooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::EmptyName
            | Self::Name
            | Self::SpaceBeforeColon
            | Self::Fold
            | Self::BareCr
            | Self::BareLf
            | Self::Control => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why an XSP's answer can't be used. Nor can its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// Not a status line of HTTP/1.0 or 1.1.
    #[error("the status line is malformed")]
    StatusLine,
    /// 101, though no upgrade was asked for.
    #[error("the protocol was switched unasked")]
    SwitchingProtocols,
    /// The head is longer than a head may be.
    #[error("the head is too long")]
    HeadTooLong,
    /// A malformed field section.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// Ambiguous framing.
    #[error(transparent)]
    Framing(#[from] FramingError),
}
