//! A trace as one HTML file: lanes over time, with messages, faults, roles, requests and the
//! violation.
//!
//! The file holds the events as compact arrays and a small program that draws what is in view;
//! it asks nobody else for anything. Far out, messages become a density; near, they are lines
//! that can be pointed at.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::event::{Event, FaultStage, StopReason};
use crate::options::Options;
use crate::place::{Place, Seat};
use crate::time::SimTime;
use crate::trace;
use crate::world::Finished;

const TEMPLATE: &str = include_str!("html/trace.html");

/// Longest text of one event that is kept, in characters.
const TEXT_LENGTH: usize = 300;

/// The drawing of a finished run whose whole trace was kept.
#[must_use]
pub fn page(seed: u64, options: &Options, finished: &Finished) -> String {
    let mut drawing = Drawing::new(options);
    for (at, event) in finished.trace.events() {
        drawing.add(*at, event);
    }
    let data = drawing.finish(seed, finished);
    // A `</script>` inside the data would end it early; JSON may write the slash otherwise.
    let data = data.to_string().replace("</", "<\\/");
    TEMPLATE.replacen("/*DATA*/null", &data, 1)
}

#[derive(Default)]
struct Drawing {
    lanes: Vec<String>,
    lane_of: BTreeMap<u64, usize>,
    /// Messages on the way: when, from where, words.
    sent: BTreeMap<u64, (SimTime, usize, String)>,
    messages: Vec<Value>,
    /// Spans: lane, from, to, kind, words.
    spans: Vec<Value>,
    points: Vec<Value>,
    /// What began on a lane and has not ended: kind, since when, words.
    roles: BTreeMap<Seat, (SimTime, String)>,
    down: BTreeMap<Seat, (SimTime, String)>,
    paused: BTreeMap<Seat, SimTime>,
    faults: BTreeMap<u32, (SimTime, usize, String)>,
    calls: BTreeMap<u64, (SimTime, usize, String)>,
    end: SimTime,
}

impl Drawing {
    fn new(options: &Options) -> Self {
        let mut drawing = Self::default();
        let seats = (0..options.nodes).map(|seat| Place::Seat(Seat(seat)));
        let servers = (0..options.chunkservers).map(Place::Chunkserver);
        let mounts = (0..options.mounts).map(Place::Mount);
        let clients = (0..=options.clients).map(Place::Client);
        drawing.lanes.push("faults".into());
        for place in seats.chain(servers).chain(mounts).chain(clients) {
            drawing.lane_of.insert(place.number(), drawing.lanes.len());
            let operator = place == Place::Client(options.clients);
            let name = if operator {
                "operator".to_owned()
            } else {
                place.to_string()
            };
            drawing.lanes.push(name);
        }
        drawing
    }

    fn lane(&self, place: Place) -> usize {
        self.lane_of.get(&place.number()).copied().unwrap_or(0)
    }

    fn add(&mut self, at: SimTime, event: &Event) {
        self.end = at;
        match event {
            Event::Sent { message, from, .. } => {
                let words = words(event);
                self.sent.insert(message.0, (at, self.lane(*from), words));
            }
            Event::Delivered { message, to, .. } => self.message(at, message.0, *to, false),
            Event::Lost { message, to, .. } => self.message(at, message.0, *to, true),
            Event::Fault {
                entry,
                fault,
                stage,
            } => match stage {
                FaultStage::Begins => {
                    let lane = fault.seat().map_or(0, |seat| self.lane(Place::Seat(seat)));
                    self.faults.insert(*entry, (at, lane, words(event)));
                    self.point(at, 0, "fault", event);
                }
                FaultStage::Ends => {
                    if let Some((since, lane, words)) = self.faults.remove(entry) {
                        self.span(lane, since, at, "fault", &words);
                    }
                }
                FaultStage::Skipped(_) => self.point(at, 0, "skipped", event),
            },
            Event::RoleChanged { seat, role, .. } => {
                self.end_role(at, *seat);
                self.roles
                    .insert(*seat, (at, format!("{role:?}|{}", words(event))));
            }
            Event::NodeStopped { seat, reason, .. } => {
                self.end_role(at, *seat);
                self.down.insert(*seat, (at, words(event)));
                let kind = match reason {
                    StopReason::Panicked(_) => "violation",
                    _ => "stop",
                };
                self.point(at, self.lane(Place::Seat(*seat)), kind, event);
            }
            Event::NodeStarted { seat, .. } => {
                if let Some((since, words)) = self.down.remove(seat) {
                    self.span(self.lane(Place::Seat(*seat)), since, at, "down", &words);
                }
                self.point(at, self.lane(Place::Seat(*seat)), "start", event);
            }
            Event::NodePaused { seat, .. } => {
                self.paused.insert(*seat, at);
            }
            Event::NodeResumed { seat, .. } => {
                if let Some(since) = self.paused.remove(seat) {
                    self.span(
                        self.lane(Place::Seat(*seat)),
                        since,
                        at,
                        "paused",
                        "stands still",
                    );
                }
            }
            Event::Invoked { call, client, .. } => {
                let lane = self.lane(Place::Client(*client));
                self.calls.insert(call.0, (at, lane, words(event)));
            }
            Event::Returned { call, .. } | Event::GaveUp { call, .. } => {
                let ok = matches!(event, Event::Returned { result: Ok(_), .. });
                if let Some((since, lane, asked)) = self.calls.remove(&call.0) {
                    let words = format!("{asked}\n{}", words(event));
                    self.span(lane, since, at, if ok { "call" } else { "failed" }, &words);
                }
            }
            Event::PhaseBegins { .. } | Event::CoreLeads { .. } | Event::CoreServes { .. } => {
                self.point(at, 0, "phase", event);
            }
            Event::CoreLate { .. } => self.point(at, 0, "violation", event),
            Event::FlushStarted { .. } | Event::FlushEnded { .. } | Event::Attempted { .. } => {}
            other => {
                let lane = trace::place(other).map_or(0, |place| self.lane(place));
                self.point(at, lane, "event", other);
            }
        }
    }

    fn message(&mut self, at: SimTime, message: u64, to: Place, lost: bool) {
        // A doubled message is drawn twice, so it is not taken out.
        if let Some((since, from, words)) = self.sent.get(&message) {
            self.messages.push(json!([
                micros(*since),
                from,
                micros(at),
                self.lane(to),
                u8::from(lost),
                words
            ]));
        }
    }

    fn end_role(&mut self, at: SimTime, seat: Seat) {
        if let Some((since, words)) = self.roles.remove(&seat) {
            let (role, words) = words.split_once('|').unwrap_or(("", &words));
            let kind = role.to_lowercase();
            self.span(self.lane(Place::Seat(seat)), since, at, &kind, words);
        }
    }

    fn span(&mut self, lane: usize, from: SimTime, to: SimTime, kind: &str, words: &str) {
        self.spans
            .push(json!([lane, micros(from), micros(to), kind, words]));
    }

    fn point(&mut self, at: SimTime, lane: usize, kind: &str, event: &Event) {
        self.points
            .push(json!([lane, micros(at), kind, words(event)]));
    }

    fn finish(mut self, seed: u64, finished: &Finished) -> Value {
        let end = self.end;
        for seat in self.roles.keys().copied().collect::<Vec<_>>() {
            self.end_role(end, seat);
        }
        for (seat, (since, words)) in std::mem::take(&mut self.down) {
            self.span(self.lane(Place::Seat(seat)), since, end, "down", &words);
        }
        for (seat, since) in std::mem::take(&mut self.paused) {
            self.span(
                self.lane(Place::Seat(seat)),
                since,
                end,
                "paused",
                "stands still",
            );
        }
        for (_, (since, lane, words)) in std::mem::take(&mut self.faults) {
            self.span(lane, since, end, "fault", &words);
        }
        for (_, (since, lane, words)) in std::mem::take(&mut self.calls) {
            self.span(
                lane,
                since,
                end,
                "failed",
                &format!("{words}\nwas never answered"),
            );
        }
        self.messages.sort_by_key(|message| message[0].as_u64());
        let violation = finished.violation.as_ref().map(|(at, violation)| {
            json!({
                "at": micros(*at),
                "text": format!("{} ({}): {}", violation.promise, violation.checker, violation.sentence),
            })
        });
        json!({
            "seed": seed,
            "hash": finished.trace.hash(),
            "end": micros(end),
            "lanes": self.lanes,
            "messages": self.messages,
            "spans": self.spans,
            "points": self.points,
            "violation": violation,
        })
    }
}

fn micros(at: SimTime) -> u64 {
    at.0 / 1_000
}

fn words(event: &Event) -> String {
    let words = trace::words(event);
    match words.char_indices().nth(TEXT_LENGTH) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Violation, ViolationKind};
    use crate::plan::Plan;
    use crate::real::Real;
    use crate::verdict;

    #[test]
    fn a_page_holds_everything_and_asks_nobody() {
        let set = ["safety_ms=500", "canary=true", "faults.mean_ms=100"].map(str::to_owned);
        let plan = Plan::draw(3, &set).unwrap();
        let finished = verdict::live::<Real>(&plan, true);
        let page = page(3, &plan.options, &finished);
        assert!(page.contains("the canary was told to fail"));
        assert!(page.contains(&finished.trace.hash()));
        for outside in ["http://", "https://", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn data_cannot_end_its_script() {
        let plan = Plan::draw(3, &["safety_ms=1".to_owned()]).unwrap();
        let mut finished = verdict::live::<Real>(&plan, true);
        finished.violation = Some((
            SimTime(5),
            Violation {
                checker: "tree".into(),
                promise: "P-TREE".into(),
                kind: ViolationKind::Correctness,
                sentence: "</script><script>alert(1)</script>".into(),
            },
        ));
        let page = page(3, &plan.options, &finished);
        assert_eq!(page.matches("</script>").count(), 1);
    }
}
