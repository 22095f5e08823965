//! Protocol versions, suites and groups in relation to one another (R-TLS-1, R-TLS-3). Separate from their names, because
//! each may be right by itself and still nobody can connect.

use rustls::CipherSuite;
use toml::Spanned;

use super::{Check, fields, or};
use crate::config::error::Problem;
use crate::config::file::{self, Key};
use crate::config::model::{TlsPolicy, TlsVersion};
use crate::config::types::suite::{Suite, default_groups, default_suites, is_classical, is_tls13, suite_name};

/// `[https.tls]` or `[farm.NAME.tls]` over the defaults.
pub(super) fn policy(check: &mut Check<'_>, table: &Key<file::Tls>) -> TlsPolicy {
    let tls = fields(table);
    let policy = TlsPolicy {
        min_version: or(&tls.min_version, |version| version.0, TlsVersion::Tls12),
        max_version: or(&tls.max_version, |version| version.0, TlsVersion::Tls13),
        cipher_suites: or(
            &tls.cipher_suites,
            |list| list.iter().map(|suite| suite.get_ref().0).collect(),
            default_suites(),
        ),
        groups: or(&tls.groups, |list| list.iter().map(|group| group.get_ref().0).collect(), default_groups()),
    };
    let span = table.as_ref().map(Spanned::span).unwrap_or_default();
    let suites = tls.cipher_suites.is_none()
        || check.filled(&span, "cipher_suites", &tls.cipher_suites, "leave it out for the default").is_some();
    let groups =
        tls.groups.is_none() || check.filled(&span, "groups", &tls.groups, "leave it out for the default").is_some();
    if policy.min_version > policy.max_version {
        let span = tls.min_version.as_ref().or(tls.max_version.as_ref()).map(Spanned::span);
        check.report(
            Problem::error(span, "min_version is above max_version").help("leave both out for \"1.2\" to \"1.3\""),
        );
        return policy;
    }
    if let (Some(list), true) = (&tls.cipher_suites, suites) {
        check.distinct(list.get_ref(), |suite| u16::from(suite.0), "the suite");
        check_suites(check, list, &policy);
    }
    if let (Some(list), true) = (&tls.groups, groups) {
        check.distinct(list.get_ref(), |group| u16::from(group.0), "the group");
        let classical = policy.groups.iter().any(|group| is_classical(*group));
        if policy.min_version == TlsVersion::Tls12 && !classical {
            let help = "add \"x25519\" or \"secp256r1\", or set min_version = \"1.3\"";
            check.report(unusable(&policy, list, "TLS 1.2 can use none of these groups").help(help));
        }
    }
    policy
}

/// An error if TLS 1.2 is all there is, else a warning.
fn unusable<T>(policy: &TlsPolicy, list: &Spanned<T>, message: &str) -> Problem {
    match policy.max_version {
        TlsVersion::Tls12 => Problem::error(list.span(), message),
        TlsVersion::Tls13 => Problem::warning(list.span(), message),
    }
}

/// A fresh XSP speaks TLS 1.2, and of the suites that there are here, those with AES_128_GCM alone.
pub(super) fn towards_xsps(check: &mut Check<'_>, table: &Key<file::Tls>, policy: &TlsPolicy) {
    let Some(list) = &fields(table).cipher_suites else { return };
    let speaks = |suite: &CipherSuite| !is_tls13(*suite) && suite_name(*suite).ends_with("_AES_128_GCM_SHA256");
    let has_others = policy.cipher_suites.iter().any(|suite| !is_tls13(*suite));
    let is_whole = !check.gaps.has_element(&list.span());
    if policy.min_version == TlsVersion::Tls12 && has_others && is_whole && !policy.cipher_suites.iter().any(speaks) {
        let message = "none of these suites is one that a fresh XSP speaks in TLS 1.2";
        let help = "add \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", unless the XSPs were set up for others";
        check.report(Problem::warning(list.span(), message).help(help));
    }
}

fn check_suites(check: &mut Check<'_>, list: &Spanned<Vec<Spanned<Suite>>>, policy: &TlsPolicy) {
    let gapless = !check.gaps.has_element(&list.span());
    let has = |tls13: bool| policy.cipher_suites.iter().any(|suite| is_tls13(*suite) == tls13);
    let (old, new) = (policy.min_version == TlsVersion::Tls12, policy.max_version == TlsVersion::Tls13);
    if gapless && old && !has(false) {
        let help = "add a TLS_ECDHE_... suite, or set min_version = \"1.3\"";
        check.report(unusable(policy, list, "TLS 1.2 can use none of these suites").help(help));
    }
    if gapless && new && !has(true) {
        let help = "add a suite such as \"TLS_AES_128_GCM_SHA256\", or set max_version = \"1.2\"";
        let message = "TLS 1.3 can use none of these suites";
        check.report(match old {
            true => Problem::warning(list.span(), message).help(help),
            false => Problem::error(list.span(), message).help(help),
        });
    }
    for suite in list.get_ref() {
        let used = if is_tls13(suite.get_ref().0) { new } else { old };
        if !used {
            let message = format!("{} belongs to a version that is off", suite_name(suite.get_ref().0));
            check.report(Problem::warning(suite.span(), message).help("see min_version and max_version"));
        }
    }
}
