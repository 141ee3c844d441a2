//! Chunkservers: which there are, and what an operator decides about them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mfsha_client::Client;
use mfsha_core::id::CsId;
use mfsha_core::moosefs::version::Version;
use mfsha_core::native::admin::{ChunkserverHeard, ChunkserverStatus};
use mfsha_core::time::WallTime;
use serde_json::{Value, json};

use super::args::{Chunkserver, Switch};
use super::output::{Failure, Output, bytes_for_people, table, time_for_people};
use super::session;

/// Maintenance that does not end by itself.
const FOR_EVER: WallTime = WallTime(u32::MAX);

/// Carries out one command.
pub async fn run(
    client: &Client,
    command: Chunkserver,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Chunkserver::List => list(client, output).await,
        Chunkserver::Forget { csid } => forget(client, csid, output).await,
        Chunkserver::Maintenance {
            csid,
            wish,
            duration,
        } => {
            let until = match (wish, duration) {
                (Switch::Off, _) => WallTime(0),
                (Switch::On, None) => FOR_EVER,
                (Switch::On, Some(duration)) => after(duration),
            };
            maintain(client, csid, until, output).await
        }
    }
}

async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let all = client.admin().chunkservers().await?;
    let now = now();
    let rows = all.iter().map(|status| row(status, now)).collect();
    let header = [
        "ID", "ADDRESS", "STATE", "NODE", "LABELS", "COPIES", "USED", "TOTAL", "JOBS", "TROUBLE",
    ];
    let mut text = table(header, rows);
    if all.is_empty() {
        text.push_str("\n\nNone has registered yet.");
    }
    let values: Vec<Value> = all.iter().map(|status| value(status, now)).collect();
    output.show(&text, &json!({ "chunkservers": values }));
    Ok(())
}

fn row(status: &ChunkserverStatus, now: WallTime) -> [String; 10] {
    let of = |show: &dyn Fn(&ChunkserverHeard) -> String| {
        status.heard.as_ref().map_or_else(|| "-".to_owned(), show)
    };
    [
        status.info.csid.0.to_string(),
        address(status),
        state(status).to_owned(),
        of(&|heard| heard.relay.0.to_string()),
        of(&|heard| labels(heard.labels)),
        of(&|heard| heard.space.chunks.to_string()),
        of(&|heard| bytes_for_people(heard.space.used)),
        of(&|heard| bytes_for_people(heard.space.total)),
        of(&|heard| heard.jobs.to_string()),
        trouble(status, now),
    ]
}

fn address(status: &ChunkserverStatus) -> String {
    let address = status.info.address;
    format!("{}:{}", address.ip, address.port)
}

fn state(status: &ChunkserverStatus) -> &'static str {
    match &status.heard {
        None => "gone",
        Some(heard) if heard.leaving => "leaving",
        Some(heard) if !heard.reachable => "cut off",
        Some(heard) if !heard.listed => "listing",
        Some(_) => "connected",
    }
}

/// Labels as MooseFS writes them.
fn labels(mask: u32) -> String {
    let letters = (0..26_u8).filter(|bit| mask & (1 << bit) != 0);
    let letters: String = letters.map(|bit| char::from(b'A' + bit)).collect();
    if letters.is_empty() {
        "-".to_owned()
    } else {
        letters
    }
}

fn trouble(status: &ChunkserverStatus, now: WallTime) -> String {
    let mut all = Vec::new();
    let until = status.info.maintenance_until;
    if in_maintenance(until, now) {
        let left = end_of(until).map(|end| u64::from(end - now.0) * 1_000);
        let left = left.map(|left| format!(" for {}", time_for_people(left)));
        all.push(format!("in maintenance{}", left.unwrap_or_default()));
    }
    if let Some(heard) = &status.heard {
        if heard.disk_errors > 0 {
            all.push(format!("disk errors: {}", heard.disk_errors));
        }
        if heard.space.removal_chunks > 0 {
            all.push(format!("copies to move: {}", heard.space.removal_chunks));
        }
        if heard.overloaded {
            all.push("overloaded".to_owned());
        }
    }
    all.join(", ")
}

/// Whether maintenance until then is on now.
fn in_maintenance(until: WallTime, now: WallTime) -> bool {
    until > now || until == FOR_EVER
}

/// When maintenance ends or ended by itself.
fn end_of(until: WallTime) -> Option<u32> {
    (until != WallTime(0) && until != FOR_EVER).then_some(until.0)
}

fn value(status: &ChunkserverStatus, now: WallTime) -> Value {
    let (info, heard) = (&status.info, status.heard.as_ref());
    json!({
        "id": info.csid.0,
        "address": address(status),
        "state": state(status),
        "registration": info.registration,
        "registered_at": info.registered_at.0,
        "maintenance": in_maintenance(info.maintenance_until, now),
        "maintenance_until": end_of(info.maintenance_until),
        "node": heard.map(|heard| heard.relay.0),
        "version": heard.map(|heard| Version(heard.version).to_string()),
        "labels": heard.map(|heard| labels(heard.labels)),
        "copies": heard.map(|heard| heard.space.chunks),
        "used_bytes": heard.map(|heard| heard.space.used),
        "total_bytes": heard.map(|heard| heard.space.total),
        "removal_copies": heard.map(|heard| heard.space.removal_chunks),
        "jobs": heard.map(|heard| heard.jobs),
        "overloaded": heard.map(|heard| heard.overloaded),
        "disk_errors": heard.map(|heard| heard.disk_errors),
    })
}

async fn forget(client: &Client, csid: CsId, output: &mut Output) -> Result<(), Failure> {
    let result = client.admin().forget_chunkserver(csid).await;
    session::end(client, result.map_err(Failure::from), output).await?;
    let text = format!(
        "chunkserver {} is removed: what only it had is lost, the rest is copied anew",
        csid.0
    );
    output.show(&text, &json!({ "id": csid.0 }));
    Ok(())
}

async fn maintain(
    client: &Client,
    csid: CsId,
    until: WallTime,
    output: &mut Output,
) -> Result<(), Failure> {
    let result = client.admin().set_maintenance(csid, until).await;
    session::end(client, result.map_err(Failure::from), output).await?;
    let now = now();
    let is_on = in_maintenance(until, now);
    let how = match (is_on, end_of(until)) {
        (false, _) => "is in maintenance no more".to_owned(),
        (true, None) => "is in maintenance until that is ended".to_owned(),
        (true, Some(end)) => {
            let left = u64::from(end - now.0) * 1_000;
            format!("is in maintenance for {}", time_for_people(left))
        }
    };
    let value = json!({ "id": csid.0, "maintenance": is_on, "maintenance_until": end_of(until) });
    output.show(&format!("chunkserver {} {how}", csid.0), &value);
    Ok(())
}

fn now() -> WallTime {
    after(Duration::ZERO)
}

/// The time so much later than now; the last but one that there is at the most.
fn after(duration: Duration) -> WallTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.unwrap_or_default().saturating_add(duration).as_secs();
    WallTime(u32::try_from(seconds).unwrap_or(u32::MAX).min(u32::MAX - 1))
}
