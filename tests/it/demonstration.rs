//! The demonstration, as somebody runs it who has just built the gateway.

use std::time::{Duration, Instant};

use crate::harness::Program;

#[tokio::test]
async fn the_demo_plays_to_its_end_and_all_expectations_hold() {
    let begun = Instant::now();
    let mut demo = Program::start(&["demo"]);
    let code = loop {
        if let Some(code) = demo.code() {
            break code;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it has not ended: {:#?}", demo.lines());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    demo.line("the verdict", |line| line.starts_with("All expectations held.").then_some(())).await;
    assert_eq!(code, 0, "{:#?}", demo.lines());
}
