//! (skeleton)

/// A path prefix that names an interface, such as `/com.broadsoft.xsi-actions/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);
