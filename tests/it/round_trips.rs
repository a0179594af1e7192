//! How often a command waits for the server. From far away, this is how long it takes.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use crate::far_away::Proxy;
use crate::program::run_on;
use crate::samples::{case, demo};
use crate::server::{TestDatabase, block_on, concurrent_server};

/// Counts the round trips of a command after it is connected.
fn trips(database: &TestDatabase, args: &[&str], exit: i32) -> Option<u32> {
    let server = concurrent_server("round trips")?;
    let through = |proxy: &Proxy| {
        let (address, name) = database.url().rsplit_once('/').unwrap();
        let (user, _) = address.rsplit_once(':').unwrap();
        format!("{user}:{}/{name}?sslmode=disable", proxy.port())
    };
    let start = || Proxy::start(server.port(), Duration::ZERO).unwrap();
    let proxy = start();
    let connected = block_on(PgConnection::connect(&through(&proxy))).unwrap();
    block_on(connected.close()).unwrap();
    let connecting = proxy.round_trips().unwrap();
    let proxy = start();
    let _ = run_on(&through(&proxy), args).exits(exit);
    Some(proxy.round_trips().unwrap() - connecting)
}

/// Fails where a command takes more round trips than were agreed on.
fn takes_at_most(agreed: u32, database: &TestDatabase, args: &[&str], exit: i32) {
    if let Some(taken) = trips(database, args, exit) {
        println!("{taken} round trips: {args:?}");
        assert!(
            taken <= agreed,
            "{taken} round trips, {agreed} agreed: {args:?}"
        );
    }
}

const SCAN: [&str; 3] = ["scan", "--format", "json"];
const FIX: [&str; 3] = ["fix", "--yes", "--no-journal"];

#[test]
fn a_scan_of_a_small_database_takes_seven_round_trips() {
    takes_at_most(7, &case("beside_live"), &SCAN, 2);
}

#[test]
fn a_scan_that_holds_references_takes_a_few_more() {
    takes_at_most(17, &demo(), &SCAN, 2);
}

#[test]
fn a_repair_of_a_small_database_takes_a_few_dozen_round_trips() {
    takes_at_most(35, &case("beside_live"), &FIX, 0);
    takes_at_most(55, &demo(), &FIX, 3);
}
