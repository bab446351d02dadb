//! Lists of chunks: what a file says that says something in some places only, as a canonical text.
//!
//! ```text
//! imgbuild chunks 1, fastcdc 2020 65536 262144 1048576, zeros 65536
//! size 3221225472
//! 0 131072 zero
//! 196608 70001 d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24
//! ```
//!
//! The first line is the format's version and how chunks are cut; then one line a piece: where it begins, how long it is, and the
//! BLAKE3 of its bytes, or that it is zero. Of places that no piece has the file says nothing. Equal contents have equal lists,
//! whatever compresses the chunks. What is not here: how a file is cut (`cut`), and where chunks lie (`chunk_store`).

use std::fmt::Write as _;

use imgbuild_digest::Hash;

/// The sizes between which chunks are cut, and the one that they have mostly, in bytes.
pub(crate) const LEAST: usize = 64 << 10;
pub(crate) const USUAL: usize = 256 << 10;
pub(crate) const MOST: usize = 1 << 20;
/// Zeros are told from data in units of so many bytes, counted from the file's beginning.
pub(crate) const UNIT: u64 = 64 << 10;

const NAME: &str = "imgbuild chunks ";

/// What a file says, by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkList {
    size: u64,
    pieces: Vec<Piece>,
}

/// A part of a file of which something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes that are kept as a chunk.
    Data {
        /// Where it begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        length: u64,
        /// The BLAKE3 of its bytes.
        chunk: Hash,
    },
    /// Zeros.
    Zero {
        /// Where they begin, in bytes.
        offset: u64,
        /// How many there are.
        length: u64,
    },
}

impl Piece {
    /// Where it begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Self::Data { offset, .. } | Self::Zero { offset, .. } => *offset,
        }
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } | Self::Zero { length, .. } => *length,
        }
    }
}

/// Why something is no list of chunks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkListError {
    /// The text begins with something else.
    #[error("not a list of chunks")]
    NotAList,
    /// A version or a way of cutting that this program does not know.
    #[error("a list of chunks of another kind, `{0}`; use a newer imgbuild")]
    Unknown(String),
    /// A line that does not say what it should.
    #[error("line {0} of the list of chunks is damaged")]
    Line(usize),
    /// A piece that does not lie behind the one before it, is too long, or does not end within the file.
    #[error("the piece at {0} of the list of chunks is out of place")]
    Piece(u64),
    /// It says what it should, and not as it is written here.
    #[error("the list of chunks is not in its canonical form")]
    NotCanonical,
}

fn head() -> String {
    format!("{NAME}1, fastcdc 2020 {LEAST} {USUAL} {MOST}, zeros {UNIT}")
}

impl ChunkList {
    /// Of a file of `size` bytes.
    ///
    /// # Errors
    ///
    /// If the pieces are not in order, overlap, are empty or longer than a chunk may be, or go beyond the file's end.
    pub fn new(size: u64, pieces: Vec<Piece>) -> Result<Self, ChunkListError> {
        let mut end = 0;
        let mut behind_zeros = false;
        for piece in &pieces {
            let (offset, length) = (piece.offset(), piece.length());
            let is_zero = matches!(piece, Piece::Zero { .. });
            let joins_zeros = is_zero && behind_zeros && offset == end;
            let is_too_long = !is_zero && length > MOST as u64;
            let its_end = offset.checked_add(length).filter(|end| *end <= size);
            let Some(its_end) = its_end else { return Err(ChunkListError::Piece(offset)) };
            if offset < end || length == 0 || is_too_long || joins_zeros {
                return Err(ChunkListError::Piece(offset));
            }
            (end, behind_zeros) = (its_end, is_zero);
        }
        Ok(Self { size, pieces })
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it says, in the order of the file.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether the file says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{}\nsize {}\n", head(), self.size);
        for piece in &self.pieces {
            // Writing to a text does not fail.
            let _ = match piece {
                Piece::Data { offset, length, chunk } => writeln!(text, "{offset} {length} {chunk}"),
                Piece::Zero { offset, length } => writeln!(text, "{offset} {length} zero"),
            };
        }
        text
    }

    /// Reads the text. There is one text for each list; any other is refused.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Self, ChunkListError> {
        let text = std::str::from_utf8(text).map_err(|_| ChunkListError::NotAList)?;
        let mut lines = text.lines();
        match lines.next() {
            Some(first) if first == head() => {}
            Some(first) if first.starts_with(NAME) => return Err(ChunkListError::Unknown(first.to_owned())),
            _ => return Err(ChunkListError::NotAList),
        }
        let size = lines.next().and_then(|line| line.strip_prefix("size ")?.parse().ok());
        let size = size.ok_or(ChunkListError::Line(2))?;
        let pieces =
            lines.enumerate().map(|(place, line)| piece(line).ok_or(ChunkListError::Line(place + 3)));
        let list = Self::new(size, pieces.collect::<Result<_, _>>()?)?;
        if list.encode() == text { Ok(list) } else { Err(ChunkListError::NotCanonical) }
    }
}

fn piece(line: &str) -> Option<Piece> {
    let mut words = line.split(' ');
    let (offset, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let what = words.next()?;
    if words.next().is_some() {
        return None;
    }
    Some(match what {
        "zero" => Piece::Zero { offset, length },
        hash => Piece::Data { offset, length, chunk: hash.parse().ok()? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "imgbuild chunks 1, fastcdc 2020 65536 262144 1048576, zeros 65536\n\
                        size 1048576\n\
                        0 131072 zero\n\
                        196608 70001 d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24\n\
                        266609 5 zero\n";

    #[test]
    fn a_list_has_one_text() {
        let list = ChunkList::decode(TEXT.as_bytes()).unwrap();
        assert_eq!((list.size(), list.pieces().len()), (1 << 20, 3));
        assert_eq!(list.pieces()[2], Piece::Zero { offset: 266_609, length: 5 });
        assert_eq!(list.encode(), TEXT);
        let empty = ChunkList::new(7, vec![]).unwrap();
        assert!(empty.is_empty());
        assert_eq!(ChunkList::decode(empty.encode().as_bytes()), Ok(empty));
    }

    #[test]
    fn any_other_text_is_refused() {
        use ChunkListError::{Line, NotAList, NotCanonical, Piece, Unknown};
        let newer = TEXT.lines().next().unwrap().replace("chunks 1", "chunks 2");
        for (from, to, wanted) in [
            ("imgbuild chunks 1", "imgbuild chunks 2", Unknown(newer)),
            ("imgbuild chunks 1", "something", NotAList),
            ("size 1048576", "size", Line(2)),
            ("size 1048576", "size 266613", Piece(266_609)),
            ("196608 70001", "131071 70001", Piece(131_071)),
            ("196608 70001", "131072 0", Piece(131_072)),
            ("196608 70001", "196608 18446744073709551615", Piece(196_608)),
            ("196608", "+196608", NotCanonical),
            ("196608", "0196608", NotCanonical),
            ("d74981", "D74981", NotCanonical),
            ("d74981", "d7498", Line(4)),
            ("5 zero", "5 zero ", Line(5)),
            ("5 zero", "5  zero", Line(5)),
            ("5 zero\n", "5 zero", NotCanonical),
            ("5 zero\n", "5 zero\r\n", NotCanonical),
            ("5 zero\n", "5 zero\n266614 5 zero\n", Piece(266_614)),
            ("5 zero\n", "5 zero\n\n", Line(6)),
        ] {
            assert!(TEXT.contains(from), "{from}");
            assert_eq!(ChunkList::decode(TEXT.replacen(from, to, 1).as_bytes()), Err(wanted), "{from} {to}");
        }
        assert_eq!(ChunkList::decode(b"\xff"), Err(NotAList));
        let long = super::Piece::Data { offset: 0, length: 1 + MOST as u64, chunk: Hash([0; 32]) };
        assert_eq!(ChunkList::new(1 << 30, vec![long]), Err(Piece(0)));
    }
}
