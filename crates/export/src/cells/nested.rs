//! Lists, structs and maps as JSON.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::text::Piece;
use super::{AnyCell, Cell, Maker, NoText, Nulls, Out, Text, json_string, nulls};

/// Returns the cells of a nested column as JSON arrays and objects.
pub(super) fn json(array: &ArrayRef, maker: &mut Maker<'_>) -> Result<AnyCell, NoText> {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.offsets().clone();
            items(list.values(), maker, move |row| (index(ends[row]), index(ends[row + 1])))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends = list.offsets().clone();
            items(list.values(), maker, move |row| (wide(ends[row]), wide(ends[row + 1])))
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let length = index(list.value_length());
            items(list.values(), maker, move |row| (row * length, (row + 1) * length))
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let (starts, sizes) = (list.offsets().clone(), list.sizes().clone());
            items(list.values(), maker, move |row| {
                (index(starts[row]), index(starts[row]) + index(sizes[row]))
            })
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let (starts, sizes) = (list.offsets().clone(), list.sizes().clone());
            items(list.values(), maker, move |row| {
                (wide(starts[row]), wide(starts[row]) + wide(sizes[row]))
            })
        }
        DataType::Struct(_) => Ok(Box::new(object(array.as_struct(), maker)?)),
        DataType::Map(..) => {
            let map = array.as_map();
            let ends = map.offsets().clone();
            let range = move |row: usize| (index(ends[row]), index(ends[row + 1]));
            let key = maker.key(map.keys())?;
            Ok(Box::new(Entries { range, key, value: Item::new(map.values(), maker)? }))
        }
        other => Err(NoText(other.clone())),
    }
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("arrow offsets are not negative")
}

fn wide(offset: i64) -> usize {
    usize::try_from(offset).expect("arrow offsets are not negative")
}

/// A value that may be null, where null is spelled out.
struct Item {
    nulls: Option<NullBuffer>,
    cell: AnyCell,
    leaf: Option<u32>,
}

impl Item {
    fn new(values: &ArrayRef, maker: &mut Maker<'_>) -> Result<Self, NoText> {
        let leaf = maker.leaf(values);
        Ok(Self { nulls: nulls(values), cell: maker.json(values)?, leaf })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn write(&self, row: usize, out: &mut Out) {
        if self.is_null(row) {
            out.bytes.extend_from_slice(b"null");
            return;
        }
        let start = out.bytes.len();
        self.cell.write(row, out);
        if let Some(column) = self.leaf {
            out.place(column, start);
        }
    }
}

fn items<F>(values: &ArrayRef, maker: &mut Maker<'_>, range: F) -> Result<AnyCell, NoText>
where
    F: Fn(usize) -> (usize, usize) + Send + 'static,
{
    Ok(Box::new(Items { range, item: Item::new(values, maker)? }))
}

struct Items<F> {
    range: F,
    item: Item,
}

impl<F: Fn(usize) -> (usize, usize) + Send> Cell for Items<F> {
    fn write(&self, row: usize, out: &mut Out) {
        let (start, end) = (self.range)(row);
        out.bytes.push(b'[');
        for at in start..end {
            if at > start {
                out.bytes.push(b',');
            }
            self.item.write(at, out);
        }
        out.bytes.push(b']');
    }
}

/// The entries of a map; an entry whose value is null stays, because its key says something.
struct Entries<F> {
    range: F,
    key: AnyCell,
    value: Item,
}

impl<F: Fn(usize) -> (usize, usize) + Send> Cell for Entries<F> {
    fn write(&self, row: usize, out: &mut Out) {
        let (start, end) = (self.range)(row);
        out.bytes.push(b'{');
        for at in start..end {
            if at > start {
                out.bytes.push(b',');
            }
            self.key.write(at, out);
            out.bytes.push(b':');
            self.value.write(at, out);
        }
        out.bytes.push(b'}');
    }
}

/// The fields of a struct, or of a row: a JSON object.
pub(crate) struct Object {
    fields: Vec<Field>,
    omit: bool,
}

struct Field {
    /// `,"name":`; the object's brace takes the place of the first comma.
    key: Piece,
    item: Item,
}

impl Object {
    /// Makes the object of named columns.
    pub(crate) fn new<'a>(
        columns: impl Iterator<Item = (&'a str, &'a ArrayRef)>,
        maker: &mut Maker<'_>,
    ) -> Result<Self, NoText> {
        let field = |(name, values): (&str, &ArrayRef)| {
            let mut key = Text::default();
            key.push(b',');
            json_string(name.as_bytes(), &mut key);
            key.push(b':');
            Ok(Field { key: Piece::new(key.as_slice()), item: Item::new(values, maker)? })
        };
        let fields = columns.map(field).collect::<Result<_, _>>()?;
        Ok(Self { fields, omit: maker.rules.nulls == Nulls::Omit })
    }
}

impl Cell for Object {
    fn write(&self, row: usize, out: &mut Out) {
        let start = out.bytes.len();
        for Field { key, item } in &self.fields {
            if self.omit && item.is_null(row) {
                continue;
            }
            out.bytes.piece(key);
            item.write(row, out);
        }
        if out.bytes.len() == start {
            out.bytes.push(b'{');
        } else {
            out.bytes.set(start, b'{');
        }
        out.bytes.push(b'}');
    }
}

fn object(array: &StructArray, maker: &mut Maker<'_>) -> Result<Object, NoText> {
    let names = array.fields().iter().map(|field| field.name().as_str());
    Object::new(names.zip(array.columns()), maker)
}
