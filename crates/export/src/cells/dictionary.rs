//! Strings that come with a dictionary: each distinct one is turned into text once.
//!
//! All batches of a row group share one dictionary, and they are written by several threads: whoever
//! comes first makes its text, the others wait for that.

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
    entries: Vec<Entry>,
    bytes: usize,
    /// Times a dictionary was asked for.
    asked: usize,
}

struct Entry {
    values: ArrayData,
    bytes: usize,
    text: Arc<OnceLock<Arc<Texts>>>,
    /// When it was asked for last.
    asked: usize,
}

/// Bytes that a dictionary is counted for besides its values: there are never more than some thousands.
const ENTRY_BYTES: usize = 4096;

/// Rounds through all dictionaries in which one was not asked for before another may take its place: none of
/// those that are in use, or each would be made anew for every few rows.
const IDLE_ROUNDS: usize = 4;

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
        if values.is_empty() {
            // All rows are null, and the reader makes such a dictionary for every batch anew.
            return None;
        }
        let text = self.text(values)?;
        let texts = text.get_or_init(|| Arc::new(Texts::new(values, write)));
        let place = |key: &i32| {
            let key = usize::try_from(*key).unwrap_or_default();
            texts.places.get(key).copied().unwrap_or_default()
        };
        // All at once: row by row each look would wait for the memory.
        let places = dictionary.keys().values().iter().map(place).collect();
        Some(Box::new(Known { places, texts: Arc::clone(texts) }))
    }

    /// Returns the place for the text of a dictionary, or `None` if there is no room for it.
    fn text(&self, values: &ArrayRef) -> Option<Arc<OnceLock<Arc<Texts>>>> {
        let data = values.to_data();
        // Most values need no escapes.
        let bytes = ENTRY_BYTES + values.as_string::<i32>().value_data().len() + values.len() * 8;
        let mut kept = self.kept.lock().expect("nothing panics under the lock");
        kept.asked += 1;
        let asked = kept.asked;
        if let Some(entry) = kept.entries.iter_mut().find(|entry| entry.values.ptr_eq(&data)) {
            entry.asked = asked;
            return Some(Arc::clone(&entry.text));
        }
        if kept.bytes + bytes > DICTIONARY_TEXT_BYTES {
            let idle = asked.saturating_sub(IDLE_ROUNDS * kept.entries.len());
            kept.entries.retain(|entry| entry.asked >= idle);
            kept.bytes = kept.entries.iter().map(|entry| entry.bytes).sum();
        }
        if kept.bytes + bytes > DICTIONARY_TEXT_BYTES {
            return None;
        }
        let text = Arc::default();
        kept.entries.push(Entry { values: data, bytes, text: Arc::clone(&text), asked });
        kept.bytes += bytes;
        Some(text)
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

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int32Array, StringArray};

    use super::super::json_string;
    use super::*;

    fn column(values: &ArrayRef, keys: Vec<Option<i32>>) -> ArrayRef {
        let keys = Int32Array::from(keys);
        Arc::new(DictionaryArray::try_new(keys, Arc::clone(values)).expect("keys have values"))
    }

    fn written(cell: &dyn Cell, rows: &[usize]) -> String {
        let mut out = Out::default();
        for row in rows {
            cell.write(*row, &mut out);
        }
        String::from_utf8(out.bytes.into_vec()).expect("UTF-8 stays UTF-8")
    }

    #[test]
    fn text_is_made_once_and_found_by_row() {
        let long = "x".repeat(100) + "\n";
        let values: ArrayRef = Arc::new(StringArray::from(vec!["a\"b", "", long.as_str()]));
        let known = Dictionaries::default();
        let first = column(&values, vec![Some(2), None, Some(0)]);
        let cell = known.cell(&first, json_string).expect("a small dictionary");
        let expected = format!("\"a\\\"b\"\"{}\\n\"\"a\\\"b\"", "x".repeat(100));
        assert_eq!(written(&*cell, &[2, 0, 2]), expected);
        let again = column(&values, vec![Some(1)]);
        let cell = known.cell(&again, |_, _| panic!("made before")).expect("kept");
        assert_eq!(written(&*cell, &[0]), "\"\"");
    }

    #[test]
    fn a_dictionary_in_use_keeps_its_place_and_an_idle_one_gives_it_up() {
        let large = || -> ArrayRef {
            Arc::new(StringArray::from(vec!["x".repeat(DICTIONARY_TEXT_BYTES * 2 / 3)]))
        };
        let (one, other) = (large(), large());
        let known = Dictionaries::default();
        let ask = |values| known.cell(&column(values, vec![Some(0)]), json_string).is_some();
        assert!(ask(&one));
        assert!(!ask(&other), "no room");
        assert!(ask(&one));
        let asked = (0..=IDLE_ROUNDS).filter(|_| ask(&other)).count();
        assert!(asked > 0, "nobody wants the first any more");
        assert!(!ask(&one));
    }
}
