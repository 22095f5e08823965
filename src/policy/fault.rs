//! Why an attempt at an endpoint has come to nothing, and what that says of the endpoint. Separate from those who dial, send and
//! read, so that each error is weighed in one place.

/// Why there was no answer that could be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The gateway itself had no socket, port or memory left.
    Local,
    /// TCP connect was refused.
    Refused,
    /// TCP connect was answered by a reset.
    ConnectReset,
    /// There is no way to the address.
    Unreachable,
    /// TCP connect failed in another way.
    NoConnection,
    /// TCP connect got no answer.
    ConnectTimeout,
    /// The TLS handshake failed.
    Handshake(HandshakeFault),
    /// The TLS handshake did not end in time.
    HandshakeTimeout,
    /// The request could not be sent.
    Send,
    /// The connection was reset before an answer's head was there.
    Reset,
    /// The connection ended before an answer's head was there.
    Closed,
    /// The same, on a connection that had idled, before a byte of the answer came.
    Stale,
    /// What came is no answer that could be read.
    Malformed,
    /// The answer's head is beyond the gateway's limits.
    TooLarge,
    /// No answer's head in time (R-FAIL-3).
    Timeout,
}

/// What has come of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    /// An answer below 500, or a connection that is kept.
    Success,
    /// A 5xx.
    ServerError,
    /// Another one has answered sooner.
    Overtaken,
    /// The client has left, or has not been told yet how it ended.
    Abandoned,
    /// No answer.
    Fault(Fault),
}

impl AttemptEnd {
    /// An answer with that status.
    pub const fn answered(status: u16) -> Self {
        if status < 500 { Self::Success } else { Self::ServerError }
    }

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ServerError => "5xx",
            Self::Overtaken => "overtaken",
            Self::Abandoned => "abandoned",
            Self::Fault(fault) => fault.name(),
        }
    }
}

/// What was wrong with a handshake, or what the peer's alert says of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFault {
    /// The peer ended the connection.
    Closed,
    /// What came is no TLS.
    NotTls,
    /// TLS went wrong in another way.
    Tls,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The certificate does not hold the name.
    CertificateName,
    /// Nobody who is trusted has signed the certificate.
    CertificateIssuer,
    /// The revocation list that covers the certificate is overdue.
    CertificateCrlOverdue,
    /// The certificate is wrong in another way.
    Certificate,
    /// The peer does not know the CA of the gateway's certificate.
    AlertUnknownCa,
    /// The peer can't use the gateway's certificate.
    AlertBadCertificate,
    /// The peer takes no such certificate.
    AlertUnsupportedCertificate,
    /// For the peer, the gateway's certificate has expired.
    AlertCertificateExpired,
    /// For the peer, the gateway's certificate is revoked.
    AlertCertificateRevoked,
    /// The peer objects to the gateway's certificate.
    AlertCertificateUnknown,
    /// The peer asks for a certificate, and the gateway has none.
    AlertCertificateRequired,
    /// The peer knows the gateway, and lets it do nothing.
    AlertAccessDenied,
    /// The two have nothing in common.
    AlertHandshakeFailure,
    /// They have no version in common.
    AlertProtocolVersion,
    /// Another alert.
    Alert,
}

impl HandshakeFault {
    /// Whether it is what the peer's alert says.
    pub const fn is_alert(self) -> bool {
        match self {
            Self::Closed
            | Self::NotTls
            | Self::Tls
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateName
            | Self::CertificateIssuer
            | Self::CertificateCrlOverdue
            | Self::Certificate => false,
            Self::AlertUnknownCa
            | Self::AlertBadCertificate
            | Self::AlertUnsupportedCertificate
            | Self::AlertCertificateExpired
            | Self::AlertCertificateRevoked
            | Self::AlertCertificateUnknown
            | Self::AlertCertificateRequired
            | Self::AlertAccessDenied
            | Self::AlertHandshakeFailure
            | Self::AlertProtocolVersion
            | Self::Alert => true,
        }
    }

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "handshake-closed",
            Self::NotTls => "not-tls",
            Self::Tls => "tls",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::CertificateName => "certificate-name",
            Self::CertificateIssuer => "certificate-issuer",
            Self::CertificateCrlOverdue => "certificate-crl-overdue",
            Self::Certificate => "certificate",
            Self::AlertUnknownCa => "tls-alert-unknown-ca",
            Self::AlertBadCertificate => "tls-alert-bad-certificate",
            Self::AlertUnsupportedCertificate => "tls-alert-unsupported-certificate",
            Self::AlertCertificateExpired => "tls-alert-certificate-expired",
            Self::AlertCertificateRevoked => "tls-alert-certificate-revoked",
            Self::AlertCertificateUnknown => "tls-alert-certificate-unknown",
            Self::AlertCertificateRequired => "tls-alert-certificate-required",
            Self::AlertAccessDenied => "tls-alert-access-denied",
            Self::AlertHandshakeFailure => "tls-alert-handshake-failure",
            Self::AlertProtocolVersion => "tls-alert-protocol-version",
            Self::Alert => "tls-alert",
        }
    }
}

/// What a fault says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It can't be had (R-FAIL-1).
    Proof(Scope),
    /// Something may be wrong with it, or with the request.
    Suspicion(Cause),
    /// It may be about to go: worth a look.
    Hint,
    /// Nothing at all.
    Nothing,
}

/// How much of an XSP a proof speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One port.
    Port,
    /// One port, which answers nothing although its kernel does: if a process hangs, it may have other ports.
    Silence,
    /// The whole address: other ports are likely gone too.
    Address,
}

/// Why an endpoint is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It has answered with a 5xx (R-FAIL-2).
    ServerError,
    /// It has been silent for longer than it should be (R-FAIL-3).
    Silence,
    /// It has ended or reset a fresh connection, or has said what can't be read.
    Broken,
}

impl Cause {
    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerError => "5xx",
            Self::Silence => "silence",
            Self::Broken => "broken",
        }
    }
}

impl Fault {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Refused => "refused",
            Self::ConnectReset | Self::Reset => "reset",
            Self::Unreachable | Self::NoConnection => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::Handshake(fault) => fault.name(),
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Send => "send",
            Self::Closed => "closed",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::TooLarge => "answer-too-large",
            Self::Timeout => "timeout",
        }
    }

    /// What it says of the endpoint.
    pub const fn evidence(self) -> Evidence {
        match self {
            Self::Refused | Self::ConnectReset | Self::NoConnection | Self::Handshake(_) => {
                Evidence::Proof(Scope::Port)
            }
            Self::HandshakeTimeout => Evidence::Proof(Scope::Silence),
            Self::Unreachable | Self::ConnectTimeout => Evidence::Proof(Scope::Address),
            Self::Timeout => Evidence::Suspicion(Cause::Silence),
            Self::Send | Self::Reset | Self::Closed | Self::Malformed => Evidence::Suspicion(Cause::Broken),
            Self::Stale => Evidence::Hint,
            Self::Local | Self::TooLarge => Evidence::Nothing,
        }
    }

    /// Whether nothing was heard, rather than something bad: the caller is told so by 504 rather than 502.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::HandshakeTimeout | Self::Timeout)
    }
}
