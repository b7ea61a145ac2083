use super::*;
use crate::simulation::scheduler::Rng;

use Continuity::{Duplicate, Gap, InOrder};

/// A detector that is no longer young, and its clock in milliseconds.
struct Subject(GapDetector, u64);

/// A sender as a gateway is one: it says the newest round that it was told.
struct Gateway {
    name: &'static str,
    sequence: u64,
    round: u64,
}

impl Subject {
    fn new(capacity: usize) -> Self {
        Self(GapDetector::new(capacity, Moment::default()), 10_000)
    }

    fn note(&mut self, incarnation: &str, sequence: u64, round: u64, is_last: bool) -> Noted {
        let now = Moment::default().after(Duration::from_millis(self.1));
        self.0.note(&Batch { incarnation, sequence, round, is_last }, now)
    }

    fn next(&mut self, gateway: &mut Gateway) -> Noted {
        gateway.sequence += 1;
        self.heartbeat(gateway)
    }

    fn heartbeat(&mut self, gateway: &mut Gateway) -> Noted {
        let noted = self.note(gateway.name, gateway.sequence, gateway.round, false);
        gateway.round = noted.round;
        noted
    }

    fn goodbye(&mut self, gateway: &Gateway) -> Noted {
        self.note(gateway.name, gateway.sequence, gateway.round, true)
    }
}

fn gateway(name: &'static str) -> Gateway {
    Gateway { name, sequence: 0, round: 0 }
}

#[test]
fn batches_of_one_sender_are_whole_in_order() {
    let (mut subject, mut a) = (Subject::new(2), gateway("a"));
    assert_eq!(subject.next(&mut a).continuity, InOrder);
    assert_eq!(subject.next(&mut a).continuity, InOrder);
    assert_eq!(subject.heartbeat(&mut a).continuity, Duplicate);
    assert_eq!(subject.next(&mut a).continuity, InOrder);
}

#[test]
fn gap_is_reported_once() {
    let (mut subject, mut a) = (Subject::new(2), gateway("a"));
    subject.next(&mut a);
    a.sequence += 1;
    assert_eq!(subject.next(&mut a).continuity, Gap(Missing::Batches));
    assert_eq!(subject.note("a", 2, 0, false).continuity, Duplicate);
    assert_eq!(subject.next(&mut a).continuity, InOrder);
}

#[test]
fn unknown_sender_in_the_middle_of_its_sequence_is_a_gap() {
    let mut subject = Subject::new(2);
    assert_eq!(subject.note("a", 2, 0, false).continuity, Gap(Missing::Batches));
}

#[test]
fn newcomer_to_a_young_cache_is_a_gap() {
    let (mut subject, mut a) = (Subject::new(2), gateway("a"));
    subject.1 = 1_999;
    let noted = subject.next(&mut a);
    assert_eq!((noted.continuity, noted.is_settled), (Gap(Missing::OfUnknownSender), true));
}

#[test]
fn newcomer_after_goodbye_is_settled_without_a_gap() {
    let (mut subject, mut a, mut b) = (Subject::new(2), gateway("a"), gateway("b"));
    subject.next(&mut a);
    assert_eq!(subject.goodbye(&a).continuity, Duplicate);
    assert_eq!(subject.goodbye(&a).continuity, Duplicate, "said again, because nobody heard the answer");
    let noted = subject.next(&mut b);
    assert_eq!((noted.continuity, noted.is_settled), (InOrder, true));
}

#[test]
fn goodbye_beyond_the_newest_batch_is_a_gap() {
    let (mut subject, mut a) = (Subject::new(2), gateway("a"));
    subject.next(&mut a);
    a.sequence += 2;
    assert_eq!(subject.goodbye(&a).continuity, Gap(Missing::Batches));
}

#[test]
fn newcomer_is_settled_once_the_others_have_been_heard_again() {
    let (mut subject, mut a, mut b) = (Subject::new(2), gateway("a"), gateway("b"));
    subject.next(&mut a);
    assert!(!subject.next(&mut b).is_settled);
    subject.heartbeat(&mut a);
    assert!(!subject.heartbeat(&mut b).is_settled, "it may have been sent before the newcomer came");
    subject.heartbeat(&mut a);
    let noted = subject.heartbeat(&mut b);
    assert_eq!((noted.continuity, noted.is_settled), (Duplicate, true));
}

#[test]
fn newcomer_beside_a_silent_sender_is_a_gap_after_the_bound_and_no_sooner() {
    let (mut subject, mut a, mut b) = (Subject::new(2), gateway("a"), gateway("b"));
    subject.next(&mut a);
    subject.next(&mut b);
    subject.1 += 1_999;
    // What a dead sender had sent before may come late.
    subject.heartbeat(&mut a);
    assert!(!subject.heartbeat(&mut b).is_settled);
    subject.1 += 1;
    let noted = subject.heartbeat(&mut b);
    assert_eq!((noted.continuity, noted.is_settled), (Gap(Missing::OfSilentSender), true));
    assert_eq!(subject.next(&mut a).continuity, InOrder, "it was paused");
}

#[test]
fn sender_that_is_silent_for_a_minute_is_a_gap_to_one_newcomer_alone() {
    let (mut subject, mut a, mut b, mut c) = (Subject::new(3), gateway("a"), gateway("b"), gateway("c"));
    subject.next(&mut a);
    subject.1 += 58_000;
    subject.next(&mut b);
    subject.1 += 2_000;
    assert_eq!(subject.heartbeat(&mut b).continuity, Gap(Missing::OfSilentSender));
    subject.goodbye(&b);
    let noted = subject.next(&mut c);
    assert_eq!((noted.continuity, noted.is_settled), (InOrder, true));
}

#[test]
fn longest_silent_sender_is_forgotten_and_the_newcomer_is_a_gap() {
    let (mut subject, mut a, mut b) = (Subject::new(2), gateway("a"), gateway("b"));
    subject.next(&mut a);
    subject.1 += 1;
    subject.next(&mut b);
    subject.1 += 1;
    subject.next(&mut a);
    let mut c = gateway("c");
    assert_eq!(subject.next(&mut c).continuity, Gap(Missing::OfUnknownSender));
    subject.goodbye(&c);
    assert_eq!(subject.next(&mut gateway("d")).continuity, Gap(Missing::OfUnknownSender), "b may be gone");
    assert_eq!(subject.next(&mut a).continuity, InOrder);
    assert_eq!(subject.next(&mut b).continuity, Gap(Missing::Batches));
}

/// Gateways come, write, hang, say goodbye or die, and what they sent may come late. Once a newcomer is settled, nothing is
/// missing that died with another before it came.
#[test]
fn settled_newcomer_misses_nothing_of_the_dead() {
    for seed in 0..2_000 {
        if let Err(broken) = crowd(&Rng::seeded(seed)) {
            panic!("seed {seed}: {broken}");
        }
    }
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// A gateway of the crowd.
struct Member {
    gateway: Gateway,
    is_dead: bool,
    /// It holds something that it could not deliver.
    holds: bool,
    /// The losses that it has to be safe from: those who were dead when it came.
    before: Vec<usize>,
}

/// All of them, the cache, and what has not reached it.
struct Crowd<'a> {
    rng: &'a Rng,
    subject: Subject,
    members: Vec<Member>,
    /// Heartbeats on their way: who sent them, their sequence, their round.
    late: Vec<(usize, u64, u64)>,
    /// The dead whose loss no flush has covered.
    lost: Vec<usize>,
}

fn crowd(rng: &Rng) -> Result<(), String> {
    let (subject, members, late, lost) = (Subject::new(NAMES.len()), Vec::new(), Vec::new(), Vec::new());
    let mut crowd = Crowd { rng, subject, members, late, lost };
    for _ in 0..120 {
        crowd.subject.1 += rng.below(400);
        let Some((who, noted)) = crowd.act() else { continue };
        if matches!(noted.continuity, Gap(_)) {
            crowd.lost.clear();
        }
        let Member { is_dead, before, .. } = &crowd.members[who];
        if noted.is_settled && !is_dead && before.iter().any(|loss| crowd.lost.contains(loss)) {
            return Err(format!("{} is settled, and {:?} is lost", NAMES[who], crowd.lost));
        }
    }
    Ok(())
}

impl Crowd<'_> {
    /// Something happens: who spoke, and what came of it.
    fn act(&mut self) -> Option<(usize, Noted)> {
        match self.rng.below(8) {
            0 if self.members.len() < NAMES.len() => {
                let mut newcomer = gateway(NAMES[self.members.len()]);
                let noted = self.subject.next(&mut newcomer);
                self.members.push(Member {
                    gateway: newcomer,
                    is_dead: false,
                    holds: false,
                    before: self.lost.clone(),
                });
                Some((self.members.len() - 1, noted))
            }
            1 => {
                let (who, sequence, round) = self.late.pop()?;
                Some((who, self.subject.note(NAMES[who], sequence, round, false)))
            }
            _ => {
                let chosen = usize::try_from(self.rng.below(self.members.len().max(1) as u64)).expect("few");
                self.act_as(chosen)
            }
        }
    }

    fn act_as(&mut self, chosen: usize) -> Option<(usize, Noted)> {
        let member = self.members.get_mut(chosen).filter(|member| !member.is_dead)?;
        let noted = match self.rng.below(8) {
            0 => {
                member.is_dead = true;
                self.lost.extend(member.holds.then_some(chosen));
                return None;
            }
            1 if !member.holds => {
                member.is_dead = true;
                self.subject.goodbye(&member.gateway)
            }
            2 => {
                member.holds = true;
                self.late.push((chosen, member.gateway.sequence, member.gateway.round));
                return None;
            }
            3 if member.holds => {
                member.holds = false;
                self.subject.next(&mut member.gateway)
            }
            _ => self.subject.heartbeat(&mut member.gateway),
        };
        Some((chosen, noted))
    }
}
