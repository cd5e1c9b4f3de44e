//! Whatever is written into the file, and in whatever way: what is in force is the last good configuration that was
//! read, never half of one and never an older one again.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::tests::{Following, quick};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// One text; whether it is a good one.
fn text(random: &mut Random, port: u16) -> (Vec<u8>, bool) {
    let good = quick(port).into_bytes();
    match random.below(8) {
        0..=2 => (good, true),
        // Cut anywhere.
        3 => (good[..random.below(good.len())].to_vec(), false),
        // Valid JSON5 that is no configuration.
        4 => (
            format!("{{gateway: {{port: {}}}}}", 70_000 + u32::from(port)).into_bytes(),
            false,
        ),
        5 => (
            quick(port).replace("gateway", "gatewax").into_bytes(),
            false,
        ),
        // A key twice.
        6 => (
            quick(port).replace("{port", "{port: 1, port").into_bytes(),
            false,
        ),
        _ => (
            (0..random.below(300))
                .map(|_| random.below(256) as u8 | 0x80)
                .collect(),
            false,
        ),
    }
}

fn clear(path: &Path) {
    let _none = fs::remove_file(path);
    let _no_folder = fs::remove_dir(path);
}

/// Puts the text there in one of the ways in which editors, people and failing disks do. Whether it stays there.
fn write(random: &mut Random, path: &Path, text: &[u8]) -> bool {
    let beside = path.with_extension("new");
    match random.below(7) {
        0..=1 => {
            clear(path);
            fs::write(path, text).unwrap();
        }
        2..=3 => {
            fs::write(&beside, text).unwrap();
            clear(path);
            fs::rename(&beside, path).unwrap();
        }
        // In pieces, which another process can read in between.
        4 => {
            clear(path);
            let mut file = fs::File::create(path).unwrap();
            for piece in text.chunks(1 + random.below(20)) {
                file.write_all(piece).unwrap();
            }
        }
        5 => {
            let real = path.with_extension("real");
            fs::write(&real, text).unwrap();
            clear(path);
            symlink(&real, path).unwrap();
        }
        _ => {
            clear(path);
            if random.below(2) == 0 {
                fs::create_dir(path).unwrap();
            }
            return false;
        }
    }
    true
}

#[tokio::test]
async fn after_two_thousand_arbitrary_writes_the_last_good_one_was_always_in_force() {
    let mut run = Following::new(&quick(1)).await;
    let path = run.bench.policy.config.path().to_owned();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut good, mut last) = (BTreeSet::from([1]), 1);
    let (mut waited_good, mut waited_bad) = (0, 0);
    for port in 2..=2001_u16 {
        let (text, valid) = text(&mut random, port);
        let valid = write(&mut random, &path, &text) && valid;
        if valid {
            good.insert(port);
        }
        // Now and then it is waited until this very file was judged.
        let wait = random.below(8) == 0;
        loop {
            let now = run.port().unwrap();
            assert!(good.contains(&now), "{now} was never a good configuration");
            assert!(now >= last, "{now} was in force again after {last}");
            last = now;
            let judged = match valid {
                true => now == port && run.bench.policy.trouble().is_none(),
                false => run.bench.policy.trouble().is_some(),
            };
            if judged || !wait {
                break;
            }
            run.next().await;
        }
        match (wait, valid) {
            (true, true) => waited_good += 1,
            (true, false) => waited_bad += 1,
            (false, _) => tokio::task::yield_now().await,
        }
    }
    assert!(
        waited_good > 30 && waited_bad > 60,
        "{waited_good} {waited_bad}"
    );
    clear(&path);
    run.bench.write(&quick(3000));
    while run.port() != Some(3000) {
        run.next().await;
    }
    assert_eq!(run.bench.policy.trouble(), None);
}
