//! Strings that come with a dictionary: each distinct one is turned into text once.
//!
//! All batches of a row group share one dictionary, and they are written by several threads: whoever
//! comes first makes its text, the others wait for that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::array::{Array, ArrayData, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use model::limits::DICTIONARY_TEXT_BYTES;

use super::{AnyCell, Cell, Out, Text};

/// Bytes of a block that text is copied in.
const BLOCK: usize = 32;

/// The dictionaries of a file's latest rows as text.
#[derive(Default)]
pub(crate) struct Dictionaries {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

struct Entry {
    values: ArrayData,
    bytes: usize,
    text: OnceLock<Arc<Texts>>,
}

/// The text of each value of a dictionary.
struct Texts {
    /// One behind the other, with a block of room behind the last.
    bytes: Vec<u8>,
    /// Where each begins, and its length.
    places: Vec<(u32, u32)>,
}

impl Dictionaries {
    /// Returns the cells of a column of strings with a dictionary, if that is worth to be kept as text.
    /// One object has the text that one function writes.
    pub(crate) fn cell(
        &self,
        array: &ArrayRef,
        write: impl Fn(&[u8], &mut Text),
    ) -> Option<AnyCell> {
        let dictionary = array.as_dictionary_opt::<Int32Type>()?;
        let values = dictionary.values();
        let DataType::Utf8 = values.data_type() else { return None };
        let entry = self.entry(values)?;
        let texts = entry.text.get_or_init(|| Arc::new(Texts::new(values, write)));
        let place = |key: &i32| {
            let key = usize::try_from(*key).unwrap_or_default();
            texts.places.get(key).copied().unwrap_or_default()
        };
        // All at once: row by row each look would wait for the memory.
        let places = dictionary.keys().values().iter().map(place).collect();
        Some(Box::new(Known { places, texts: Arc::clone(texts) }))
    }

    fn entry(&self, values: &ArrayRef) -> Option<Arc<Entry>> {
        let data = values.to_data();
        // Most values need no escapes.
        let bytes = values.as_string::<i32>().value_data().len() + values.len() * 8;
        let mut kept = self.kept.lock().expect("nothing panics under the lock");
        if let Some(entry) = kept.entries.iter().rev().find(|entry| entry.values.ptr_eq(&data)) {
            return Some(Arc::clone(entry));
        }
        if bytes > DICTIONARY_TEXT_BYTES / 4 {
            return None;
        }
        while kept.bytes + bytes > DICTIONARY_TEXT_BYTES {
            let oldest = kept.entries.pop_front()?;
            kept.bytes -= oldest.bytes;
        }
        let entry = Arc::new(Entry { values: data, bytes, text: OnceLock::new() });
        kept.entries.push_back(Arc::clone(&entry));
        kept.bytes += bytes;
        Some(entry)
    }
}

impl Texts {
    fn new(values: &ArrayRef, write: impl Fn(&[u8], &mut Text)) -> Self {
        let values = values.as_string::<i32>();
        let (mut text, mut places) = (Text::default(), Vec::with_capacity(values.len()));
        let narrow = |at| u32::try_from(at).expect("dictionaries that are kept are small");
        for value in values {
            let start = text.len();
            write(value.unwrap_or_default().as_bytes(), &mut text);
            places.push((narrow(start), narrow(text.len() - start)));
        }
        let mut bytes = text.into_vec();
        bytes.resize(bytes.len() + BLOCK, 0);
        Self { bytes, places }
    }
}

/// Strings whose text is there already.
struct Known {
    /// Where the text of each row is.
    places: Vec<(u32, u32)>,
    texts: Arc<Texts>,
}

impl Cell for Known {
    #[inline]
    fn write(&self, row: usize, out: &mut Out) {
        let (start, length) = self.places[row];
        // Whole blocks: what is copied behind the end is written over by what comes next.
        let rounded = (length as usize).next_multiple_of(BLOCK);
        let from = &self.texts.bytes[start as usize..][..rounded];
        let room = &mut out.bytes.room(rounded)[..rounded];
        for (to, from) in room.as_chunks_mut::<BLOCK>().0.iter_mut().zip(from.as_chunks().0) {
            *to = *from;
        }
        out.bytes.advance(length as usize);
    }
}
