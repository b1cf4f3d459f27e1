use super::*;

const BLOCK: u32 = 1024;

/// A judge and the content of the disk that it judges, in which a test does what it likes.
struct Trial {
    judge: Judge,
    content: Vec<u8>,
}

impl Trial {
    fn new() -> Self {
        Self { judge: Judge::new(9, BLOCK, None), content: vec![0; BLOCK as usize] }
    }

    /// Begins a write of block 1; its number and what it would put there.
    fn begin(&mut self) -> (u64, Vec<u8>) {
        let mut content = vec![0; BLOCK as usize];
        (self.judge.begin_write(1, &mut content).unwrap(), content)
    }

    fn end(&mut self, sequence: u64, success: bool) {
        self.judge.end(sequence, if success { Outcome::Done } else { Outcome::Failed });
    }

    /// A write that succeeds; what stands there then.
    fn write(&mut self) -> Vec<u8> {
        let (sequence, content) = self.begin();
        self.end(sequence, true);
        self.content = content.clone();
        content
    }

    fn read(&mut self) -> Option<FaultKind> {
        let reading = self.judge.begin_read(1);
        self.judge.end_read(reading, 1, &self.content).err().map(|fault| fault.kind)
    }

    fn read_as(&mut self, content: &[u8]) -> Option<FaultKind> {
        self.content = content.to_vec();
        self.read()
    }
}

#[test]
fn the_last_acknowledged_write_is_right_and_leaves_nothing_behind() {
    let mut trial = Trial::new();
    for _ in 0..5 {
        assert_eq!(trial.read(), None);
        trial.write();
        assert_eq!(trial.read(), None);
    }
    assert_eq!(trial.judge.written(), [1]);
    assert!(trial.judge.checker.possible(1) == 1);
}

#[test]
fn an_acknowledged_write_that_is_not_there_is_lost() {
    let mut trial = Trial::new();
    let first = trial.write();
    trial.write();
    assert_eq!(trial.read_as(&first), Some(FaultKind::Lost));
    assert_eq!(trial.read(), None, "each block counts once");
    assert_eq!(trial.judge.wrong(), 1);
}

#[test]
fn content_from_before_the_run_is_a_lost_write_too() {
    let mut known = Trial::new();
    let before = vec![0x5a; BLOCK as usize];
    assert_eq!(known.read_as(&before), None);
    known.write();
    assert_eq!(known.read_as(&before), Some(FaultKind::Lost));

    let mut empty = Trial::new();
    empty.write();
    assert_eq!(empty.read_as(&[0; BLOCK as usize]), Some(FaultKind::Lost));

    let mut earlier_run = vec![0; BLOCK as usize];
    pattern::fill(&mut earlier_run, 8, 2, 1);
    let mut trial = Trial::new();
    trial.write();
    assert_eq!(trial.read_as(&earlier_run), Some(FaultKind::Lost));
}

#[test]
fn an_old_write_after_a_newer_one_was_read_has_come_back() {
    let mut trial = Trial::new();
    let first = trial.write();
    trial.write();
    assert_eq!(trial.read(), None);
    assert_eq!(trial.read_as(&first), Some(FaultKind::CameBack));
}

#[test]
fn content_that_nobody_wrote_there_is_corrupt() {
    let strange = |change: fn(&mut Vec<u8>)| {
        let mut trial = Trial::new();
        let mut content = trial.write();
        change(&mut content);
        trial.read_as(&content)
    };
    assert_eq!(strange(|content| content[700] ^= 4), Some(FaultKind::Corrupt));
    assert_eq!(strange(|content| content.rotate_left(SECTOR)), Some(FaultKind::Corrupt));
    assert_eq!(strange(|content| content.fill(0x77)), Some(FaultKind::Corrupt));

    let mut untouched = Trial::new();
    assert_eq!(untouched.read(), None);
    assert_eq!(untouched.read_as(&[1; BLOCK as usize]), Some(FaultKind::Corrupt));
}

#[test]
fn a_read_beside_a_write_may_return_either_and_even_half_of_each() {
    let mut trial = Trial::new();
    let old = trial.write();
    let (sequence, new) = trial.begin();
    let torn = [&old[..SECTOR], &new[SECTOR..]].concat();
    for content in [&old, &torn, &old, &torn] {
        assert_eq!(trial.read_as(content), None);
    }
    let early = trial.judge.begin_read(1);
    trial.end(sequence, true);
    assert_eq!(trial.judge.end_read(early, 1, &old), Ok(()), "it began before the write's end");
    assert_eq!(trial.read_as(&old), Some(FaultKind::Lost));
}

#[test]
fn what_one_read_returned_a_later_one_cannot_miss() {
    let mut trial = Trial::new();
    let old = trial.write();
    let (_, new) = trial.begin();
    assert_eq!(trial.read_as(&new), None);
    assert_eq!(trial.read_as(&old), Some(FaultKind::CameBack), "the write is not even answered");
}

#[test]
fn two_writes_at_once_leave_either_until_one_is_read() {
    let mut trial = Trial::new();
    for first_wins in [true, false] {
        trial.write();
        let ((first, one), (second, two)) = (trial.begin(), trial.begin());
        trial.end(second, true);
        trial.end(first, true);
        let (wins, loses) = if first_wins { (one, two) } else { (two, one) };
        assert_eq!(trial.read_as(&wins), None, "no order between them was known");
        if !first_wins {
            assert_eq!(trial.read_as(&loses), Some(FaultKind::CameBack));
        }
    }
}

#[test]
fn a_failed_write_may_have_happened_but_not_after_its_failure() {
    let mut trial = Trial::new();
    let old = trial.write();
    let (sequence, _) = trial.begin();
    trial.end(sequence, false);
    assert_eq!(trial.read_as(&old), None, "it did not happen");
    let (sequence, failed) = trial.begin();
    trial.end(sequence, false);
    assert_eq!(trial.read_as(&failed), None, "it did");
    trial.write();
    assert_eq!(trial.read_as(&failed), Some(FaultKind::Lost));
}

#[test]
fn a_failed_write_that_appears_after_its_failure_is_wrong() {
    let mut trial = Trial::new();
    let old = trial.write();
    let (sequence, failed) = trial.begin();
    trial.end(sequence, false);
    assert_eq!(trial.read_as(&old), None);
    assert!(trial.read_as(&failed).is_some());
}

#[test]
fn a_block_of_endless_failures_takes_no_endless_memory() {
    let mut trial = Trial::new();
    let mut content = vec![0; BLOCK as usize];
    while let Some(sequence) = trial.judge.begin_write(1, &mut content) {
        trial.end(sequence, false);
    }
    assert_eq!(trial.judge.checker.possible(1), MOST_POSSIBLE);
    assert_eq!(trial.read_as(&content), None, "the last of them was it");
    trial.write();
    assert!(trial.judge.checker.possible(1) == 1);
}

/// A request to a disk that does right, in its three moments: begun, carried out, ended.
enum Under {
    Write { sequence: u64, content: Vec<u8>, done: bool, fails: bool },
    Read { reading: u64, content: Option<Vec<u8>> },
}

#[test]
fn a_disk_that_does_right_is_never_called_wrong() {
    let mut chance = super::super::chance::Chance::new(5);
    for _ in 0..300 {
        let mut trial = Trial::new();
        let mut under: Vec<Under> = Vec::new();
        for _ in 0..200 {
            if under.len() < 5 && chance.below(2) == 0 {
                under.push(if chance.below(2) == 0 {
                    let (sequence, content) = trial.begin();
                    Under::Write { sequence, content, done: false, fails: chance.below(4) == 0 }
                } else {
                    Under::Read { reading: trial.judge.begin_read(1), content: None }
                });
            } else if !under.is_empty() {
                let at = chance.below(under.len() as u64) as usize;
                match under.swap_remove(at) {
                    Under::Write { sequence, content, done: false, fails } => {
                        // One that fails may be carried out or not.
                        if !fails || chance.below(2) == 0 {
                            trial.content.clone_from(&content);
                        }
                        under.push(Under::Write { sequence, content, done: true, fails });
                    }
                    Under::Write { sequence, fails, .. } => trial.end(sequence, !fails),
                    Under::Read { reading, content: None } => {
                        let content = Some(trial.content.clone());
                        under.push(Under::Read { reading, content });
                    }
                    Under::Read { reading, content: Some(content) } => {
                        assert_eq!(trial.judge.end_read(reading, 1, &content), Ok(()));
                    }
                }
            }
        }
    }
}
