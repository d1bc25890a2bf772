//! Huffman codes of limited length, and the numbers of RFC 1951 that go with them.

/// Symbols for literals, the end of a block and lengths.
pub(super) const LITERALS: usize = 286;
/// Symbols for distances.
pub(super) const DISTANCES: usize = 30;
/// The symbol that ends a block.
pub(super) const END: usize = 256;
/// The symbol of the first length; all above it are lengths.
pub(super) const LENGTHS_FROM: usize = 257;
/// The most symbols any code has.
const SYMBOLS_MAX: usize = 288;
/// The longest code that the format allows.
const CODE_BITS_MAX: usize = 15;

/// Extra bits that follow each length symbol.
pub(super) const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// Extra bits that follow each distance symbol.
pub(super) const DISTANCE_EXTRA: [u8; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// For each length from 3 to 258 its symbol less [`LENGTHS_FROM`]; other places are not used.
pub(super) static LENGTH_SYMBOLS: [u8; 512] = length_symbols();

/// The smallest length that each length symbol stands for.
pub(super) static LENGTH_BASES: [u16; 29] = length_bases();

const fn length_bases() -> [u16; 29] {
    let mut bases = [0; 29];
    let mut base = 3;
    let mut symbol = 0;
    while symbol < 28 {
        bases[symbol] = base;
        base += 1 << LENGTH_EXTRA[symbol];
        symbol += 1;
    }
    bases[28] = 258; // has a symbol of its own, although 284 could express it
    bases
}

const fn length_symbols() -> [u8; 512] {
    let bases = length_bases();
    let mut symbols = [0; 512];
    let mut length = 3;
    let mut symbol = 0;
    while length < 259 {
        if symbol < 28 && bases[symbol as usize + 1] as usize == length {
            symbol += 1;
        }
        symbols[length] = symbol;
        length += 1;
    }
    symbols
}

/// Returns the symbol of a distance less one, and how many extra bits follow it.
#[inline]
pub(super) fn distance_symbol(distance_less_one: u32) -> (u32, u32) {
    let bits = (distance_less_one | 2).ilog2(); // at least 1
    let extra = bits - 1;
    let symbol = 2 * extra + (distance_less_one >> extra);
    (symbol, extra)
}

/// Fills `lengths` with the code lengths, at most `bits_max`, that suit the counts in `counts`.
///
/// Shape: unused symbols get 0. A code for two or more symbols is complete; one for a single
/// symbol is one bit long; one for none is empty.
pub(super) fn fill_lengths(counts: &[u32], bits_max: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut leaves = [0u64; SYMBOLS_MAX];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count > 0 {
            leaves[used] = u64::from(count) << 16 | symbol as u64;
            used += 1;
        }
    }
    let leaves = &mut leaves[..used];
    leaves.sort_unstable();
    let of_length = match used {
        0 => return,
        1 => {
            let mut single = [0; CODE_BITS_MAX + 1];
            single[1] = 1;
            single
        }
        _ => count_lengths(leaves, bits_max),
    };
    // The rarest symbols come first and get the longest codes.
    let mut at = 0;
    for length in (1..=CODE_BITS_MAX).rev() {
        for leaf in &leaves[at..at + of_length[length]] {
            lengths[(leaf & 0xffff) as usize] = u8::try_from(length).expect("at most 15");
        }
        at += of_length[length];
    }
}

/// Returns how many codes of each length there are, for two or more leaves sorted by count.
///
/// Inner nodes are visited from the root down. Each takes the place of one code and makes two
/// that are one bit longer, so the code is complete at every step; where that would pass
/// `bits_max`, the longest code that still can be split is split instead.
fn count_lengths(leaves: &[u64], bits_max: usize) -> [usize; CODE_BITS_MAX + 1] {
    let parents = inner_parents(leaves);
    let root = leaves.len() - 2;
    let mut depths = [0usize; SYMBOLS_MAX];
    let mut of_length = [0; CODE_BITS_MAX + 1];
    of_length[1] = 2;
    for node in (0..root).rev() {
        let depth = depths[usize::from(parents[node])] + 1;
        depths[node] = depth;
        let mut split = depth.min(bits_max - 1);
        while of_length[split] == 0 {
            split -= 1;
        }
        of_length[split] -= 1;
        of_length[split + 1] += 2;
    }
    of_length
}

/// Joins the two rarest nodes until one is left; returns the parent of each inner node.
fn inner_parents(leaves: &[u64]) -> [u16; SYMBOLS_MAX] {
    let mut weights = [0u64; SYMBOLS_MAX];
    let mut parents = [0u16; SYMBOLS_MAX];
    let (mut leaf, mut inner) = (0, 0);
    for node in 0..leaves.len() - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let leaf_weight = leaves.get(leaf).map(|leaf| leaf >> 16);
            if leaf_weight.is_some_and(|weight| inner == node || weight <= weights[inner]) {
                weight += leaf_weight.unwrap_or(0);
                leaf += 1;
            } else {
                weight += weights[inner];
                parents[inner] = u16::try_from(node).expect("there are at most 288 nodes");
                inner += 1;
            }
        }
        weights[node] = weight;
    }
    parents
}

/// Fills `codes` with the canonical codes for `lengths`, the first bit lowest.
pub(super) fn fill_codes(lengths: &[u8], codes: &mut [u16]) {
    let mut of_length = [0u32; CODE_BITS_MAX + 1];
    for &length in lengths {
        of_length[usize::from(length)] += 1;
    }
    of_length[0] = 0;
    let mut next = [0u32; CODE_BITS_MAX + 2];
    for length in 1..=CODE_BITS_MAX {
        next[length + 1] = (next[length] + of_length[length]) << 1;
    }
    for (&length, code) in lengths.iter().zip(codes) {
        if length > 0 {
            let forward = next[usize::from(length)];
            next[usize::from(length)] += 1;
            let reversed = forward.reverse_bits() >> (32 - u32::from(length));
            *code = u16::try_from(reversed).expect("a code has at most 15 bits");
        }
    }
}
