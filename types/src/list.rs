//! The number of elements in lists of encoded messages, which is checked before they are decoded.
//!
//! The decoder makes a structure of each element at once, with a place for each of its fields: 80 bytes for an entry of a
//! commit, some hundred for a piece of evidence. An empty element takes two bytes of the message. Without this check, a
//! block of 4 MiB that one validator proposes would take gigabytes in all others, before its elements are counted.

use prost::{
    bytes::Buf,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// A list of messages in a message.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Name of the list in errors.
    pub field: &'static str,
    /// Numbers of the fields that lead to the list; the last one is its own.
    pub path: &'static [u32],
    /// Maximum number of elements, together if the path leads through other lists.
    pub max: usize,
}

impl List {
    /// Describes a list by its name in errors, its path and its maximum number of elements.
    pub const fn new(field: &'static str, path: &'static [u32], max: usize) -> Self {
        Self { field, path, max }
    }

    /// Counts the elements in an encoded message. Cost: a step for each field on the way; the content of other fields is
    /// passed over.
    pub(crate) fn count_in(&self, bytes: &[u8]) -> usize {
        count(bytes, self.path)
    }
}

/// Counts the elements up to the end, or up to the first byte that is not protobuf: the decoder stops there too.
fn count(mut rest: &[u8], path: &[u32]) -> usize {
    let Some((number, inner)) = path.split_first() else { return 1 };
    let mut elements = 0;
    while let Ok((found, wire_type)) = decode_key(&mut rest) {
        if found != *number || wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, found, &mut rest, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let Some(length) = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok()) else { break };
        let Some((content, _)) = rest.split_at_checked(length) else { break };
        elements += count(content, inner);
        rest.advance(length);
    }
    elements
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{Block, Certificate, PeerMessage, Wire, limits::VALIDATORS_MAX, pb};

    #[test]
    fn elements_are_counted_on_all_ways_to_the_list() {
        let list = |count| pb::EvidenceList { evidence: vec![pb::Evidence::default(); count] };
        let block = |count| pb::Block { evidence: Some(list(count)), ..pb::Block::default() }.encode_to_vec();
        assert_eq!(count(&block(3), &[3, 1]), 3);
        // The same field again: the decoder merges the two.
        assert_eq!(count(&[block(3), block(2)].concat(), &[3, 1]), 5);
        assert_eq!(count(&block(3), &[4, 1]), 0);
        assert_eq!(count(&block(3), &[3, 1, 2]), 0);
        assert_eq!(count(&[], &[1]), 0);
        // A length beyond the end, an unfinished number, and a group that does not end.
        for bad in [&[0x0A, 0, 0x0A, 9][..], &[0x0A, 0, 0xFF], &[0x0A, 0, 0x0B]] {
            assert_eq!(count(bad, &[1]), 1, "{bad:?}");
        }
    }

    #[test]
    fn too_many_elements_are_refused_before_they_are_decoded() {
        // Not one of these elements would decode: the number is what is refused.
        let votes = [0x0A, 0].repeat(VALIDATORS_MAX + 1);
        let refused = "certificate.votes: 201 elements, at most 200 are allowed";
        assert_eq!(Certificate::decode(&votes).unwrap_err().to_string(), refused);
        let message = pb::PeerMessage {
            sum: Some(pb::peer_message::Sum::Certificate(pb::Certificate {
                votes: vec![pb::Vote::default(); VALIDATORS_MAX + 1],
            })),
        };
        assert_eq!(PeerMessage::decode(&message.encode_to_vec()).unwrap_err().to_string(), refused);
        let evidence = pb::EvidenceList { evidence: vec![pb::Evidence::default(); 65] };
        let block = pb::Block { evidence: Some(evidence), ..pb::Block::default() };
        let refused = "block.evidence: 65 elements, at most 64 are allowed";
        assert_eq!(Block::decode(&block.encode_to_vec()).unwrap_err().to_string(), refused);
    }
}
