//! The compiled programs of both architectures, run by a small interpreter and compared with the table:
//! this machine's kernel can only try its own.

use seccompiler::sock_filter;

use super::expect::{ANY, MODES, Verdict, attempts, verdict};
use super::linux::{Compiled, compile_for};
use crate::profile::{Arch, PROFILES, Row};

/// What the kernel tells a program about a call.
struct Data {
    number: i64,
    arch: u32,
    args: [u64; 6],
}

/// The kernel's names of the architectures (linux/audit.h).
const fn audit(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => 0xc000_003e,
        Arch::Aarch64 => 0xc000_00b7,
    }
}

/// Those of 32 bits that the same processors speak: i386 and arm.
const NARROW: [u32; 2] = [0x4000_0003, 0x4000_0028];

/// The word at an offset of `struct seccomp_data`.
fn word(data: &Data, offset: u32) -> u32 {
    let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap();
    match offset {
        0 => low(data.number.cast_unsigned()),
        4 => data.arch,
        16.. if offset.is_multiple_of(4) => {
            let argument = data.args[usize::try_from((offset - 16) / 8).unwrap()];
            low(argument >> (offset % 8 * 8))
        }
        _ => panic!("nothing to read at {offset}"),
    }
}

/// Runs a program of the instructions that seccompiler writes.
fn run(program: &[sock_filter], data: &Data) -> u32 {
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let step = &program[at];
        let jump = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
        at += 1;
        match step.code {
            0x20 => value = word(data, step.k),
            0x54 => value &= step.k,
            0x05 => at += usize::try_from(step.k).unwrap(),
            0x15 => at += jump(value == step.k),
            0x25 => at += jump(value > step.k),
            0x35 => at += jump(value >= step.k),
            0x06 => return step.k,
            other => panic!("an instruction that is not known here: {other:#x}"),
        }
    }
}

/// The strictest answer of all programs: the kernel orders the actions as signed numbers.
fn answer(compiled: &Compiled, data: &Data) -> Verdict {
    let answers = compiled.programs().iter().map(|program| run(program, data));
    let strictest = answers.min_by_key(|answer| (answer & 0xffff_0000).cast_signed());
    match strictest {
        Some(0x7fff_0000) => Verdict::Allow,
        Some(0x8000_0000) => Verdict::Kill,
        Some(errno) if errno & 0xffff_0000 == 0x0005_0000 => {
            Verdict::Errno(i32::try_from(errno & 0xffff).unwrap())
        }
        other => panic!("an answer that nobody asked for: {other:x?}"),
    }
}

#[test]
fn on_both_architectures_the_programs_say_what_the_table_says() {
    for arch in Arch::ALL {
        for profile in PROFILES.iter().filter(|profile| profile.filter) {
            for mode in MODES {
                let compiled = compile_for(profile, mode, arch).unwrap();
                let number = |row: &'static Row| Some((row, row.numbers.on(arch)?));
                let rows: Vec<_> = profile.rows(mode).filter_map(number).collect();
                let say = |number, arch, args| answer(&compiled, &Data { number, arch, args });
                let mut seen = [0; 3];
                for (row, number) in &rows {
                    for args in attempts(row) {
                        // What lies beyond 32 bits counts where the row says so, and only there.
                        let high = args.map(|argument| argument ^ 0x5a5a_5a5a_0000_0000);
                        for args in [args, high] {
                            let expected = verdict(&rows, *number, &args);
                            let got = say(*number, audit(arch), args);
                            assert_eq!(got, expected, "{arch:?} {mode:?} {row:?} {args:x?}");
                            seen[match expected {
                                Verdict::Allow => 0,
                                Verdict::Errno(_) => 1,
                                Verdict::Kill => 2,
                            }] += 1;
                        }
                    }
                    let mut doors = vec![(number | 0x4000_0000, audit(arch))];
                    let foreign = Arch::ALL.into_iter().filter(|other| *other != arch);
                    let foreign = foreign.map(audit).chain(NARROW);
                    doors.extend(foreign.map(|arch| (*number, arch)));
                    for (number, arch) in doors {
                        let got = say(number, arch, attempts(row)[0]);
                        assert_eq!(got, Verdict::Kill, "{number:#x} {arch:#x} {row:?}");
                    }
                }
                assert!(seen.iter().all(|seen| *seen > 5), "{seen:?}");
                let without_row = |number: &i64| rows.iter().all(|(_, own)| own != number);
                for number in (-1..600).filter(without_row) {
                    for args in [[0; 6], [ANY; 6]] {
                        let got = say(number, audit(arch), args);
                        assert_eq!(got, Verdict::Kill, "{arch:?} {number}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_numbers_of_both_architectures_are_the_kernel_s() {
    // By hand, from the kernel's own tables; newfstatat has another name in the generic one.
    let known = [
        ("read", 0, 63),
        ("openat", 257, 56),
        ("newfstatat", 262, 79),
        ("futex", 202, 98),
        ("mmap", 9, 222),
        ("mprotect", 10, 226),
        ("clone", 56, 220),
        ("clone3", 435, 435),
        ("execve", 59, 221),
        ("socket", 41, 198),
        ("sendto", 44, 206),
        ("accept4", 288, 242),
        ("epoll_pwait", 281, 22),
        ("memfd_secret", 447, 447),
    ];
    for (call, on_intel, on_arm) in known {
        let mut rows = PROFILES
            .iter()
            .flat_map(|profile| profile.sections)
            .flat_map(|section| section.rows);
        let row = rows.find(|row| row.call == call).unwrap();
        assert_eq!(row.numbers.on(Arch::X86_64), Some(on_intel), "{call}");
        assert_eq!(row.numbers.on(Arch::Aarch64), Some(on_arm), "{call}");
    }
}
