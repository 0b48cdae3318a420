//! Seccomp filters in classic BPF, run as the kernel would.
//!
//! # Source
//!
//! Linux `Documentation/userspace-api/seccomp_filter.rst` and `net/core/filter.c`; of the
//! instructions those that `seccomp_check_filter` lets through and compilers emit.

/// An instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation and addressing.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub if_true: u8,
    /// Instructions to skip if it does not.
    pub if_false: u8,
    /// The constant.
    pub constant: u32,
}

/// A call as a filter sees it (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Number of the call.
    pub number: u32,
    /// `AUDIT_ARCH_…`
    pub arch: u32,
    /// The six arguments.
    pub arguments: [u64; 6],
}

/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY_WORDS: usize = 16;

/// Reads instructions as the kernel keeps them on this kind of machine, little-endian.
pub fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    let (instructions, rest) = bytes.as_chunks::<8>();
    assert_eq!(rest, [0_u8; 0], "half an instruction");
    instructions
        .iter()
        .map(
            |[low, high, if_true, if_false, constant @ ..]| Instruction {
                code: u16::from_le_bytes([*low, *high]),
                if_true: *if_true,
                if_false: *if_false,
                constant: u32::from_le_bytes(*constant),
            },
        )
        .collect()
}

/// The return value of `program` for `data`.
///
/// # Panics
///
/// If the kernel would not have accepted the program.
pub fn run(program: &[Instruction], data: &Data) -> u32 {
    let (mut accumulator, mut index) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY_WORDS];
    let mut at = 0;
    loop {
        let instruction = program[at];
        let constant = instruction.constant;
        let slot = constant as usize;
        at += 1;
        let skip = |holds| {
            usize::from(if holds {
                instruction.if_true
            } else {
                instruction.if_false
            })
        };
        match instruction.code {
            0x00 => accumulator = constant,
            0x01 => index = constant,
            0x02 => memory[slot] = accumulator,
            0x03 => memory[slot] = index,
            0x05 => at += slot,
            0x06 => return constant,
            0x07 => index = accumulator,
            0x15 => at += skip(accumulator == constant),
            0x16 => return accumulator,
            0x1d => at += skip(accumulator == index),
            0x20 => accumulator = data.word(constant),
            0x25 => at += skip(accumulator > constant),
            0x35 => at += skip(accumulator >= constant),
            0x44 => accumulator |= constant,
            0x45 => at += skip(accumulator & constant != 0),
            0x54 => accumulator &= constant,
            0x60 => accumulator = memory[slot],
            0x61 => index = memory[slot],
            0x87 => accumulator = index,
            0xa4 => accumulator ^= constant,
            other => panic!("instruction {other:#06x} is not one of a seccomp filter"),
        }
    }
}

// === impl Data ===

impl Data {
    fn word(&self, offset: u32) -> u32 {
        let half = |argument: u64, upper: bool| {
            let shifted = if upper { argument >> 32 } else { argument };
            u32::try_from(shifted & u64::from(u32::MAX)).expect("32 bits")
        };
        match offset {
            0 => self.number,
            4 => self.arch,
            // Nobody looks at the instruction pointer.
            8 | 12 => 0,
            16..64 if offset.is_multiple_of(4) => {
                let word = (offset - 16) / 4;
                half(self.arguments[word as usize / 2], word % 2 == 1)
            }
            _ => panic!("a filter cannot load offset {offset}"),
        }
    }
}
