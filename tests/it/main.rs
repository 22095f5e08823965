//! The gateway seen from outside: clients on one side, a simulated site on the other, real sockets, TLS and DNS between.
//! Tests are named after the rule that they prove, and look only at what clients and XSPs saw and at scraped metrics.

#![cfg(feature = "sim")]
#![expect(clippy::large_futures, reason = "a test's future is polled once, from a stack of its own")]
#![expect(clippy::print_stderr, reason = "a test says what it leaves out, and what it has measured")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod accepted_certificates;
mod accepted_clients;
mod accepted_dns;
mod accepted_requests;
mod acknowledgements;
mod affinity;
mod answer_limits;
mod answers;
mod blame;
mod certificate_tools;
mod certificates;
mod channels;
mod client_certificates;
mod clocks;
mod control;
mod cti;
mod cti_doors;
mod cti_edges;
mod cti_failover;
mod demonstration;
mod deployment;
mod discovery;
mod doctor;
mod doctor_outside;
mod draining;
mod evidence;
mod expectation;
mod failover;
mod first_site;
mod forwarding;
mod frozen;
mod handbook;
mod handover;
mod handshakes;
mod harness;
mod hints;
mod hostile;
mod leaving;
mod liveness;
mod load;
mod logs;
mod maintenance;
mod neighbours;
mod observability;
mod odd_places;
mod outages;
mod outputs;
mod overload;
mod own_answers;
mod package;
mod pair;
mod passthrough;
mod pooled;
mod prometheus;
mod proxy_protocol;
mod ranges;
mod reload;
mod renamed;
mod renewal;
mod retries;
mod routing;
mod sequences;
mod shares;
mod soak;
mod stampede;
mod status;
mod status_page;
mod stopping;
mod stories;
mod streams;
mod strictness;
mod supervision;
mod tls;
mod topology;
mod traces;
mod untrusted;
mod vanished;
mod waits;
mod watched;
mod words;
