//! Damaged inputs from a number: the same number gives the same damage.

/// A generator of numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Noise(u64);

/// Bytes that decide something in the formats of this project: lengths, tags, signs, brackets, ends of text.
const TELLING: [u8; 16] = [0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x1A, b'"', b'{', b'[', b'-', b'9', b' ', b'\'', b'\\'];

impl Noise {
    /// Starts the generator at a number.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// Returns one of the inputs with one to four damages; `inputs` is not empty.
    pub fn damaged(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..1 + self.below(4) {
            let other = self.below(inputs.len());
            self.damage(&mut bytes, &inputs[other]);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
            2 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
            3 => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()).max(at))),
            4 => bytes.truncate(at),
            // A piece of this or another input again.
            5 => {
                let piece = piece(self, &bytes.clone());
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece = piece(self, other);
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece);
            }
        }
    }
}

fn piece(noise: &mut Noise, of: &[u8]) -> Vec<u8> {
    let from = noise.below(of.len() + 1);
    let end = (from + noise.below(64)).min(of.len());
    of[from..end].to_vec()
}

/// Returns protobuf that costs a decoder the most memory for its size: a field of each number up to 11, filled with empty
/// messages of a number, alone and inside of one and two others. Each has about `bytes` bytes.
pub fn floods(bytes: usize) -> Vec<Vec<u8>> {
    let numbers = 1_u8..12;
    let flat: Vec<Vec<u8>> = numbers.clone().map(|number| [number << 3 | 2, 0].repeat(bytes / 2)).collect();
    let inside = |number: u8, content: &[u8]| {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        [message, content.to_vec()].concat()
    };
    let mut all = flat.clone();
    for content in &flat {
        for outer in numbers.clone() {
            let once = inside(outer, content);
            all.extend(numbers.clone().map(|outermost| inside(outermost, &once)));
            all.push(once);
        }
    }
    all
}
