use super::*;

fn tracer(sample: u32, room: usize) -> (Traces, mpsc::Receiver<Finished>, Counter) {
    let metrics = Metrics::default();
    let traces = Traces::start(None, &metrics).unwrap();
    let (queue, queued) = mpsc::channel(room);
    let (sample, dropped) = (NonZeroU32::new(sample).unwrap(), metrics.traces_dropped.clone());
    traces.replace(Next(Some(Arc::new(Tracer { sample, seen: AtomicU32::new(0), queue, dropped }))));
    (traces, queued, metrics.traces_dropped)
}

fn told() -> Told {
    Told {
        listener: "192.0.2.1:443".into(),
        host: None,
        interface: None,
        farm: None,
        status: Some(200),
        class: crate::telemetry::metrics::Class::Status(2),
        origin: "gateway",
        reason: None,
        session: None,
        lengths: None,
    }
}

fn given(flags: &str) -> Fields {
    let value = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    [(TRACEPARENT, value)].into_iter().collect()
}

fn is_traced(traces: &Traces, fields: &Fields, believed: Believed) -> bool {
    traces.begin(&Method::GET, fields, || believed).is_some()
}

#[test]
fn one_of_so_many_is_traced_whatever_anybody_says() {
    let (traces, ..) = tracer(5, 1);
    let traced = (0..100).filter(|_| is_traced(&traces, &given("01"), Believed::No)).count();
    assert_eq!(traced, 20);
    let traced = (0..100).filter(|_| is_traced(&traces, &given("00"), Believed::No)).count();
    assert_eq!(traced, 20);
}

#[test]
fn who_is_believed_says_what_is_traced() {
    let (traces, ..) = tracer(5, 1);
    assert!((0..10).all(|_| is_traced(&traces, &given("01"), Believed::Yes)));
    assert!((0..10).all(|_| !is_traced(&traces, &given("00"), Believed::Yes)));
    let traced = (0..100).filter(|_| is_traced(&traces, &Fields::default(), Believed::Yes)).count();
    assert_eq!(traced, 20, "without a word, it is as of all others");
}

#[test]
fn nothing_is_traced_and_nobody_is_asked_when_it_is_off() {
    let traces = Traces::start(None, &Metrics::default()).unwrap();
    let ask = || panic!("it is off");
    assert!(traces.begin(&Method::GET, &given("01"), ask).is_none());
}

#[test]
fn what_finds_no_room_is_counted_and_gone() {
    let (traces, mut queued, dropped) = tracer(1, 2);
    for _ in 0..5 {
        let trace = traces.begin(&Method::GET, &Fields::default(), || Believed::No).unwrap();
        trace.end(told(), &Default::default());
    }
    assert_eq!(dropped.get(), 3);
    assert!(queued.try_recv().is_ok() && queued.try_recv().is_ok() && queued.try_recv().is_err());
}

#[test]
fn what_is_noted_after_a_change_goes_where_it_would_have_gone() {
    let (traces, mut queued, dropped) = tracer(1, 2);
    let trace = traces.begin(&Method::GET, &Fields::default(), || Believed::No).unwrap();
    traces.replace(Next(None));
    assert!(queued.try_recv().is_err() && !queued.is_closed());
    trace.end(told(), &Default::default());
    assert!(queued.try_recv().is_ok());
    assert_eq!(dropped.get(), 0);
    assert!(queued.is_closed(), "nobody is left who could add to it");
}

#[test]
fn an_end_waits_no_longer_than_it_must() {
    let traces = Traces::start(None, &Metrics::default()).unwrap();
    // No thread was started, so that there is nobody to wait for, and the second time nobody is asked.
    traces.close();
    traces.close();
    assert!(traces.exporters.with(|exporters| exporters.is_none()));
}
