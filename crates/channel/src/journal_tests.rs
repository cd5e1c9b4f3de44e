//! The journal keeps its promise at every byte of its file.

use super::*;
use crate::PartState;

fn started(id: &str, part: u32, again: bool) -> Record {
    Record::Started {
        id: id.into(),
        part,
        plan: 1,
        again,
    }
}

fn done(id: &str, part: u32) -> Record {
    let id = id.into();
    Record::Done { id, part }
}

fn bytes(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(encode).collect()
}

#[test]
fn the_checksum_is_the_known_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_torn_end_is_cut_and_everything_before_it_counts() {
    let whole = bytes(&[started("a", 0, false), done("a", 0)]);
    let first = encode(&started("a", 0, false)).len();
    for cut in first..whole.len() {
        let replay = replay(&whole[..cut]);
        assert_eq!((replay.length, replay.damaged.len()), (first, 0), "{cut}");
        let state = replay.ledger.part("a", 0);
        assert_eq!(state, Some(PartState::Started { again: false }));
    }
    assert_eq!(replay(&whole).ledger.part("a", 0), Some(PartState::Done));
}

#[test]
fn every_changed_byte_before_the_end_is_reported() {
    let whole = bytes(&[started("a", 0, false), done("a", 0), started("b", 0, false)]);
    let last = whole.len() - encode(&started("b", 0, false)).len();
    assert_eq!(replay(&whole).damaged, Vec::<usize>::new(), "control");
    for at in 0..last {
        let mut changed = whole.clone();
        changed[at] ^= 0x15;
        assert!(!replay(&changed).damaged.is_empty(), "byte {at}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_damage_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, damage) = Journal::open(&path).unwrap();
    assert_eq!(damage, None);
    journal.write(&started("a", 0, false)).await.unwrap();
    journal.note(&done("a", 0));
    journal.write(&started("b", 0, false)).await.unwrap();
    drop(journal);
    let (journal, damage) = Journal::open(&path).unwrap();
    assert_eq!(damage, None);
    assert_eq!(journal.ledger().part("a", 0), Some(PartState::Done));
    drop(journal);

    let mut content = fs::read(&path).unwrap();
    content[20] ^= 1;
    fs::write(&path, &content).unwrap();
    let (journal, damage) = Journal::open(&path).unwrap();
    let damage = damage.unwrap();
    assert_eq!(damage.lines, [1]);
    assert_eq!(fs::read(damage.kept.unwrap()).unwrap(), content);
    assert!(journal.ledger().part("b", 0).is_some());
}

#[tokio::test]
async fn a_long_life_leaves_a_short_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path).unwrap();
    journal.write(&started("kept", 0, false)).await.unwrap();
    for number in 0..5_000 {
        let id = format!("send-{number}");
        journal.note(&started(&id, 0, false));
        journal.note(&done(&id, 0));
        journal.note(&Record::Forgotten { id });
    }
    journal.write(&started("last", 0, false)).await.unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= COMPACT_ABOVE + 4096);
    drop(journal);
    let (journal, _) = Journal::open(&path).unwrap();
    let ledger = journal.ledger();
    let state = Some(PartState::Started { again: false });
    assert_eq!(
        (ledger.part("kept", 0), ledger.part("last", 0)),
        (state, state)
    );
    assert_eq!(ledger.records().len(), 2);
}

/// xorshift64: the same numbers from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// One step of a worker's life: a record, and whether the network took the part after it.
struct Step {
    record: Record,
    effect: Option<(String, u32)>,
}

/// Sends of several parts, mixed, with lost answers, refusals and forgetting.
fn life(chance: &mut Chance) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..6 {
        let id = format!("s{number}");
        let parts = 1 + chance.below(3) as u32;
        let mut certain = true;
        for part in 0..parts {
            let outcome = chance.below(5);
            steps.push(Step {
                record: started(&id, part, false),
                effect: (outcome != 0).then(|| (id.clone(), part)),
            });
            let record = match outcome {
                0 => Record::Undone {
                    id: id.clone(),
                    part,
                },
                // Lost: no record follows.
                1 => {
                    certain = false;
                    continue;
                }
                _ => done(&id, part),
            };
            steps.push(Step {
                record,
                effect: None,
            });
        }
        if certain && chance.below(2) == 0 {
            steps.push(Step {
                record: Record::Forgotten { id },
                effect: None,
            });
        }
    }
    steps
}

#[test]
fn killed_at_any_byte_no_part_is_doubled_and_none_is_lost_unless_unknown() {
    for seed in 1..=40 {
        let steps = life(&mut Chance(seed));
        let file: Vec<u8> = steps.iter().flat_map(|step| encode(&step.record)).collect();
        let mut ends = Vec::new();
        let mut end = 0;
        for step in &steps {
            end += encode(&step.record).len();
            ends.push(end);
        }
        for cut in 0..=file.len() {
            let ledger = replay(&file[..cut]).ledger;
            let on_disk = ends.iter().filter(|end| **end <= cut).count();
            let forgotten = |id: &str| {
                let known = steps[..on_disk].iter();
                known
                    .map(|step| &step.record)
                    .any(|record| matches!(record, Record::Forgotten { id: other } if other == id))
            };
            // The network hears of a part only when its record is on disk; the last one may or may not have got through.
            for through in [on_disk, on_disk.saturating_sub(1)] {
                let applied = steps[..through]
                    .iter()
                    .filter_map(|step| step.effect.clone());
                let applied: Vec<_> = applied.collect();
                for id in (0..6).map(|number| format!("s{number}")) {
                    if forgotten(&id) {
                        continue;
                    }
                    for part in 0..3 {
                        let times = applied
                            .iter()
                            .filter(|(other, at)| *other == id && *at == part)
                            .count();
                        match ledger.part(&id, part) {
                            Some(PartState::Done) => {
                                assert_eq!(times, 1, "lost, seed {seed} cut {cut}")
                            }
                            // Reported as unknown and never sent again.
                            Some(PartState::Started { .. }) => assert!(times <= 1),
                            // Sent now.
                            None => assert_eq!(times, 0, "doubled, seed {seed} cut {cut}"),
                        }
                    }
                }
            }
        }
    }
}
