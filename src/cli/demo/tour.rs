//! The tour: each step says what it shows, does it, measures it, and checks that it was so.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::api::{Api, CAPACITY, SLOW};
use super::client::{Answer, Client, at_once, get};

/// What a step found.
struct Step {
    title: &'static str,
    found: String,
    held: bool,
}

/// Walks through all steps, printing each; whether every one did what it says.
///
/// # Errors
/// When the gateway cannot be reached.
pub async fn walk(gateway: SocketAddr, api: &Api) -> io::Result<bool> {
    let mut all = true;
    println!(
        "{:<58}{}",
        "a direct call to the slow API takes",
        millis(get(api.address, "/slow").await?.took)
    );
    println!();
    all &= show(1, &slow_calls(gateway).await?);
    all &= show(2, &cached(gateway).await?);
    all &= show(3, &collapsed(gateway, api).await?);
    all &= show(4, &limited(gateway).await?);
    all &= show(5, &flaky(gateway).await?);
    all &= show(6, &protected(gateway, api).await?);
    all &= show(7, &stale(gateway, api).await?);
    Ok(all)
}

fn show(number: u32, step: &Step) -> bool {
    let verdict = if step.held { "ok" } else { "NOT SO" };
    println!("{number}. {:<55}{}  [{verdict}]", step.title, step.found);
    step.held
}

fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

fn ok(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

async fn slow_calls(gateway: SocketAddr) -> io::Result<Step> {
    let (answers, took) = at_once(gateway, "/slow?call={}", 3).await?;
    Ok(Step {
        title: "three slow calls at once take the time of one",
        found: millis(took),
        held: ok(&answers) == 3 && took < SLOW * 2,
    })
}

async fn cached(gateway: SocketAddr) -> io::Result<Step> {
    let mut client = Client::connect(gateway).await?;
    let first = client.get("/report").await?;
    let mut best = client.get("/report").await?;
    for _ in 0..20 {
        let again = client.get("/report").await?;
        if again.took < best.took {
            best = again;
        }
    }
    Ok(Step {
        title: "the second call is a hit in under a millisecond",
        found: format!("{}, then {} ({})", millis(first.took), millis(best.took), best.cache_status),
        held: best.cache_status.contains("hit") && best.took < Duration::from_millis(1),
    })
}

async fn collapsed(gateway: SocketAddr, api: &Api) -> io::Result<Step> {
    let before = api.seen.requests();
    let (answers, took) = at_once(gateway, "/report?fresh=1", 100).await?;
    let asked = api.seen.requests() - before;
    Ok(Step {
        title: "100 clients on a cold URL cost the API one call",
        found: format!("{} answers, {asked} API call, {}", ok(&answers), millis(took)),
        held: ok(&answers) == 100 && asked == 1,
    })
}

async fn limited(gateway: SocketAddr) -> io::Result<Step> {
    let (answers, _) = at_once(gateway, "/limited", 20).await?;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    let passed = ok(&answers);
    Ok(Step {
        title: "a burst of 20 meets a limit of 5 a second",
        found: format!("{passed} answered, {refused} told 429"),
        held: passed >= 5 && refused >= 10 && passed + refused == 20,
    })
}

async fn flaky(gateway: SocketAddr) -> io::Result<Step> {
    let mut client = Client::connect(gateway).await?;
    let mut good = 0;
    for _ in 0..5 {
        good += usize::from(client.get("/flaky").await?.status == 200);
    }
    Ok(Step {
        title: "an endpoint that fails two of three calls, retried",
        found: format!("{good} of 5 succeed"),
        held: good == 5,
    })
}

async fn protected(gateway: SocketAddr, api: &Api) -> io::Result<Step> {
    let (direct, _) = at_once(api.address, "/busy", 40).await?;
    api.seen.busiest.store(0, std::sync::atomic::Ordering::Relaxed);
    let (answers, took) = at_once(gateway, "/busy", 40).await?;
    let busiest = api.seen.busiest.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Step {
        title: "40 at once at an endpoint that can take 4",
        found: format!(
            "direct: {} of 40 succeed; protected: {} of 40, {busiest} at once, {}",
            ok(&direct),
            ok(&answers),
            millis(took)
        ),
        held: ok(&answers) == 40 && busiest <= CAPACITY,
    })
}

async fn stale(gateway: SocketAddr, api: &Api) -> io::Result<Step> {
    let mut client = Client::connect(gateway).await?;
    client.get("/news").await?;
    api.stop();
    // The entry is fresh for one second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let answer = client.get("/news").await?;
    Ok(Step {
        title: "the API is stopped and stale answers go on",
        found: format!("{} in {} ({})", answer.status, millis(answer.took), answer.cache_status),
        held: answer.status == 200 && answer.cache_status.contains("hit"),
    })
}
