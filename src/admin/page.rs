//! The status page: one document with its style, its script and the status of this moment in it. Separate from the status, of
//! which it is only a view.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Nothing but the page's own style and script, and nothing from anywhere else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    policy.parse().expect("hashes are ASCII")
});

/// The page that shows `status`, which is JSON.
pub(super) fn render(status: &str) -> String {
    // Whatever is in a name, it can't end the element that it stands in.
    let status = status.replace('<', "\\u003c");
    PAGE.replacen("{{style}}", STYLE, 1).replacen("{{script}}", SCRIPT, 1).replacen("{{status}}", &status, 1)
}

/// What a browser may do with the page.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_can_not_break_out_of_the_page() {
        let hostile = serde_json::json!({ "subject": "CN=</script><script>alert(1)</script><!--" }).to_string();
        let page = render(&hostile);
        assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
        assert!(!page.contains("<!--"));
        let (_, data) = page.split_once("id=\"status\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap().to_string(), hostile);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_markup() {
        for outside in
            ["http:", "https:", "url(", "@import", "innerHTML", "outerHTML", "insertAdjacent", "document.write"]
        {
            assert!(!render("{}").contains(outside), "{outside}");
        }
    }

    #[test]
    fn style_and_script_are_the_ones_that_the_policy_allows() {
        let page = render("{}");
        for (element, text) in [("<style>", STYLE), ("<script>", SCRIPT)] {
            assert!(page.contains(&format!("{element}{text}</")), "{element}");
            assert!(POLICY.to_str().unwrap().contains(&hash(text)));
        }
    }
}
