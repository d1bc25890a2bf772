//! What is known of a column's values: the lattice of inference.
//!
//! Contract: [`Node::merge`] is associative and commutative up to the order of fields, `Null` is its least
//! element and `Mixed` its greatest, so that blocks can be looked at in any grouping. Integer and float meet
//! in float; what else meets in `Mixed` keeps both places for the message. Cells of CSV are text to begin
//! with, so there everything meets in text.

use std::collections::HashMap;

use model::limits;
use model::schema::{Field, Type, Unit};

use super::error::{IngestError, Place, Sighting};
use super::receive;

/// A value's place: the file's place in the import, and a line in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) file: usize,
    pub(super) line: u64,
}

/// What values of different kinds meet in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mixing {
    /// Text: the cells of CSV.
    Text,
    /// A conflict.
    Refuse,
    /// The kind seen first; the other rows will be rejected.
    KeepFirst,
}

/// The kind of the values seen, with the first place of that kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) seen: Seen,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Shape {
    /// No value yet.
    #[default]
    Null,
    Boolean,
    Integer(Range),
    Float,
    Text(Times),
    List(Box<Node>),
    Object(Fields),
    /// Kinds that do not go together.
    Mixed(Box<[Node; 2]>),
}

/// What the integers seen need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) negative: bool,
    /// Beyond `int64`, within `uint64`.
    pub(super) big: bool,
}

/// What the texts seen would be as times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// The first text that is no time.
    pub(super) not: Option<Seen>,
    /// The first time with a zone.
    pub(super) zoned: Option<Seen>,
    /// The first time without.
    pub(super) unzoned: Option<Seen>,
    /// Whether one has more than six digits of a second.
    pub(super) nanos: bool,
}

/// The fields of objects, in the order they were first seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) list: Vec<(String, Node)>,
    index: HashMap<String, usize>,
}

impl PartialEq for Fields {
    /// The order does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.list.len() == other.list.len()
            && self.list.iter().all(|(name, node)| other.get(name) == Some(node))
    }
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.index.get(name).map(|&at| &self.list[at].1)
    }

    /// Returns the node of a name, made if new. `hint` is where it may be.
    pub(super) fn entry(&mut self, name: &str, hint: usize) -> &mut Node {
        if self.list.get(hint).is_some_and(|(have, _)| have == name) {
            return &mut self.list[hint].1;
        }
        let at = if let Some(&at) = self.index.get(name) {
            at
        } else {
            self.index.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), Node::default()));
            self.list.len() - 1
        };
        &mut self.list[at].1
    }
}

impl Times {
    fn merge(self, other: Self) -> Self {
        Self {
            not: first(self.not, other.not),
            zoned: first(self.zoned, other.zoned),
            unzoned: first(self.unzoned, other.unzoned),
            nanos: self.nanos || other.nanos,
        }
    }
}

fn first(a: Option<Seen>, b: Option<Seen>) -> Option<Seen> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Node {
    pub(super) fn new(shape: Shape, seen: Seen) -> Self {
        Self { shape, seen }
    }

    /// Takes in what another node knows.
    pub(super) fn merge(&mut self, other: Self, mixing: Mixing) {
        use Shape::{Boolean, Float, Integer, List, Mixed, Null, Object, Text};
        let seen = self.seen.min(other.seen);
        match (&mut self.shape, other.shape) {
            (_, Null) => return,
            (Null, shape) => {
                *self = Self { shape, seen: other.seen };
                return;
            }
            (Boolean, Boolean) | (Float, Float | Integer(_)) => {}
            (Integer(a), Integer(b)) => {
                *a = Range { negative: a.negative || b.negative, big: a.big || b.big };
            }
            (Integer(_), Float) => self.shape = Float,
            (Text(a), Text(b)) => *a = a.merge(b),
            (List(a), List(b)) => a.merge(*b, mixing),
            (Object(a), Object(b)) => {
                for (at, (name, node)) in b.list.into_iter().enumerate() {
                    a.entry(&name, at).merge(node, mixing);
                }
            }
            (_, shape) if mixing == Mixing::Text => {
                let times = times_of(&self.shape, self.seen).merge(times_of(&shape, other.seen));
                self.shape = Text(times);
            }
            (_, _) if mixing == Mixing::KeepFirst => return,
            (_, shape) => {
                let other = Self { shape, seen: other.seen };
                let mut all: Vec<Self> = Vec::with_capacity(4);
                for node in [std::mem::take(self), other] {
                    match node.shape {
                        Mixed(pair) => all.extend(*pair),
                        _ => all.push(node),
                    }
                }
                self.shape = Mixed(Box::new(pick(all)));
            }
        }
        self.seen = seen;
    }

    /// Returns how many nodes there are, this one included.
    pub(super) fn size(&self) -> usize {
        1 + match &self.shape {
            Shape::List(item) => item.size(),
            Shape::Object(fields) => fields.list.iter().map(|(_, node)| node.size()).sum(),
            _ => 0,
        }
    }
}

/// Returns two nodes of different kinds, the ones seen first.
fn pick(mut all: Vec<Node>) -> [Node; 2] {
    all.sort_by_key(|node| (node.seen, rank(&node.shape)));
    let one = all.remove(0);
    let at = all.iter().position(|node| rank(&node.shape) != rank(&one.shape)).unwrap_or(0);
    let two = all.swap_remove(at);
    [bare(one), bare(two)]
}

/// A conflict tells kinds apart, no more.
fn bare(node: Node) -> Node {
    let shape = match node.shape {
        Shape::Integer(_) | Shape::Float => Shape::Float,
        Shape::Text(_) => Shape::Text(Times::default()),
        Shape::List(_) => Shape::List(Box::default()),
        Shape::Object(_) => Shape::Object(Fields::default()),
        other => other,
    };
    Node { shape, seen: node.seen }
}

fn rank(shape: &Shape) -> u8 {
    match shape {
        Shape::Null => 0,
        Shape::Boolean => 1,
        Shape::Integer(_) | Shape::Float => 2,
        Shape::Text(_) => 3,
        Shape::List(_) => 4,
        Shape::Object(_) => 5,
        Shape::Mixed(_) => 6,
    }
}

/// A cell that is a number or a boolean is no time.
fn times_of(shape: &Shape, seen: Seen) -> Times {
    match shape {
        Shape::Text(times) => *times,
        _ => Times { not: Some(seen), ..Times::default() },
    }
}

/// Makes types of nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver<'a> {
    /// The files' names.
    pub(super) files: &'a [String],
    /// The column whose text is time.
    pub(super) time_column: Option<&'a str>,
    /// The column that becomes `received_at`.
    pub(super) received: Option<&'a str>,
}

impl Resolver<'_> {
    /// Returns the columns of an input: of the guide's types where it has them, else as inferred.
    pub(super) fn columns(
        &self,
        fields: &Fields,
        guide: &[Field],
    ) -> Result<Vec<Field>, IngestError> {
        let mut out = Vec::with_capacity(fields.list.len());
        for (name, node) in &fields.list {
            if self.received == Some(name) {
                out.push(receive::column());
                continue;
            }
            let known = guide.iter().find(|field| field.name == *name);
            let kind = match known {
                Some(field) if field.kind != Type::Null => self.guided(&field.kind, node, name)?,
                _ if self.time_column == Some(name) => self.time_of(node, name)?,
                _ => self.inferred(node, name)?,
            };
            out.push(Field {
                nullable: known.is_none_or(|f| f.nullable),
                ..Field::new(name, kind)
            });
        }
        Ok(out)
    }

    fn guided(&self, guide: &Type, node: &Node, path: &str) -> Result<Type, IngestError> {
        Ok(match (guide, &node.shape) {
            (Type::Null, _) => self.inferred(node, path)?,
            (Type::Struct { fields: have }, Shape::Object(fields)) => {
                let mut all = have.clone();
                for (name, node) in &fields.list {
                    let inner = format!("{path}.{name}");
                    match all.iter_mut().find(|field| field.name == *name) {
                        Some(field) => field.kind = self.guided(&field.kind, node, &inner)?,
                        None => all.push(Field::new(name, self.inferred(node, &inner)?)),
                    }
                }
                Type::Struct { fields: all }
            }
            (Type::List { item }, Shape::List(node)) => {
                let kind = self.guided(&item.kind, node, path)?;
                Type::List { item: Box::new(Field { kind, ..(**item).clone() }) }
            }
            // Whether the values fit is seen row by row.
            (guide, _) => guide.clone(),
        })
    }

    fn inferred(&self, node: &Node, path: &str) -> Result<Type, IngestError> {
        Ok(match &node.shape {
            Shape::Null => Type::Null,
            Shape::Boolean => Type::Boolean,
            Shape::Integer(Range { big: false, .. }) => Type::Int64,
            Shape::Integer(Range { negative: false, .. }) => Type::UInt64,
            Shape::Integer(_) | Shape::Float => Type::Float64,
            Shape::Text(_) => Type::String,
            Shape::List(item) => {
                let kind = self.inferred(item, path)?;
                Type::List { item: Box::new(Field::new("item", kind)) }
            }
            // Parquet has no struct without fields.
            Shape::Object(fields) if fields.list.is_empty() => Type::Null,
            Shape::Object(fields) => {
                let mut all = Vec::with_capacity(fields.list.len());
                for (name, node) in &fields.list {
                    all.push(Field::new(name, self.inferred(node, &format!("{path}.{name}"))?));
                }
                Type::Struct { fields: all }
            }
            Shape::Mixed(pair) => {
                let [one, two] = &**pair;
                let sighting = |node: &Node| {
                    let (kind, place) = (kind_name(&node.shape), self.place(node.seen));
                    Box::new(Sighting { kind, place })
                };
                let (one, two) = (sighting(one), sighting(two));
                return Err(IngestError::Mixed { column: path.to_owned(), one, two });
            }
        })
    }

    /// Returns the type of times whose texts are like these.
    pub(super) fn time_of(&self, node: &Node, column: &str) -> Result<Type, IngestError> {
        let not = |kind: String, hint: String| {
            Err(IngestError::NotATime { column: column.into(), kind, hint })
        };
        let times = match &node.shape {
            Shape::Text(times) => times,
            Shape::Null => return Ok(Type::Timestamp { unit: Unit::Us, zone: Some("UTC".into()) }),
            _ => {
                let kind = self.inferred(node, column)?.to_string();
                return not(kind, "write it as `2026-01-31T12:00:00Z`".into());
            }
        };
        if let Some(seen) = times.not {
            let hint = format!("write {} as `2026-01-31T12:00:00Z`", self.place(seen));
            return not("text".into(), hint);
        }
        if let (Some(zoned), Some(unzoned)) = (times.zoned, times.unzoned) {
            let hint = format!(
                "{} has a zone and {} has none; give all of them one",
                self.place(zoned),
                self.place(unzoned)
            );
            return not("text of two kinds".into(), hint);
        }
        let unit = if times.nanos { Unit::Ns } else { Unit::Us };
        let zone = times.zoned.map(|_| "UTC".to_owned());
        Ok(Type::Timestamp { unit, zone })
    }

    fn place(&self, seen: Seen) -> Place {
        let file = self.files.get(seen.file).cloned().unwrap_or_default();
        Place { file, line: seen.line }
    }
}

fn kind_name(shape: &Shape) -> &'static str {
    match shape {
        Shape::Null => "null",
        Shape::Boolean => "boolean",
        Shape::Integer(_) | Shape::Float => "number",
        Shape::Text(_) => "string",
        Shape::List(_) => "list",
        Shape::Object(_) => "struct",
        Shape::Mixed(_) => "several types",
    }
}

/// Checks that a schema's columns are few and shallow enough.
pub(super) fn check_limits(fields: &[Field]) -> Result<(), IngestError> {
    fn walk(
        fields: &[Field],
        depth: usize,
        count: &mut usize,
        top: &str,
    ) -> Result<(), IngestError> {
        if depth > limits::NESTING_MAX {
            return Err(IngestError::TooDeep { column: top.to_owned() });
        }
        for field in fields {
            *count += 1;
            if *count > limits::COLUMNS_MAX {
                return Err(IngestError::TooManyColumns);
            }
            let top = if top.is_empty() { &field.name } else { top };
            match &field.kind {
                Type::List { item } => walk(std::slice::from_ref(item), depth + 1, count, top)?,
                Type::Struct { fields } => walk(fields, depth + 1, count, top)?,
                Type::Map { key, value } => {
                    walk(&[(**key).clone(), (**value).clone()], depth + 1, count, top)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
    walk(fields, 1, &mut 0, "")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn node() -> impl Strategy<Value = Node> {
        let seen = (0_usize..2, 1_u64..6).prop_map(|(file, line)| Seen { file, line });
        let leaf = prop_oneof![
            Just(Shape::Null),
            Just(Shape::Boolean),
            (any::<bool>(), any::<bool>())
                .prop_map(|(negative, big)| Shape::Integer(Range { negative, big })),
            Just(Shape::Float),
            Just(Shape::Text(Times::default())),
        ];
        let at = seen.clone();
        // A node without a value has been seen nowhere.
        let place = |(shape, seen): (Shape, Seen)| match shape {
            Shape::Null => Node::default(),
            shape => Node { shape, seen },
        };
        (leaf, seen).prop_map(place).prop_recursive(3, 12, 3, move |inner| {
            let object =
                prop::collection::btree_map("[a-c]", inner.clone(), 0..3).prop_map(|map| {
                    let mut fields = Fields::default();
                    for (name, node) in map {
                        *fields.entry(&name, 0) = node;
                    }
                    Shape::Object(fields)
                });
            let list = inner.prop_map(|item| Shape::List(Box::new(item)));
            (prop_oneof![object, list], at.clone()).prop_map(|(shape, seen)| Node { shape, seen })
        })
    }

    fn join(a: &Node, b: &Node, mixing: Mixing) -> Node {
        let mut out = a.clone();
        out.merge(b.clone(), mixing);
        out
    }

    /// Conflicts are equal as such: which two places are shown is decided by order of reading.
    fn settled(node: &Node) -> Option<Type> {
        Resolver { files: &[], time_column: None, received: None }
            .inferred(node, "x")
            .ok()
            .map(sorted)
    }

    fn sorted(kind: Type) -> Type {
        match kind {
            Type::Struct { mut fields } => {
                fields.sort_by(|a, b| a.name.cmp(&b.name));
                let fields = fields.into_iter().map(|f| Field::new(f.name, sorted(f.kind)));
                Type::Struct { fields: fields.collect() }
            }
            Type::List { item } => {
                Type::List { item: Box::new(Field::new(item.name, sorted(item.kind))) }
            }
            other => other,
        }
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(a in node(), b in node(), c in node()) {
            for mixing in [Mixing::Refuse, Mixing::Text] {
                prop_assert_eq!(settled(&join(&a, &b, mixing)), settled(&join(&b, &a, mixing)));
                let left = join(&join(&a, &b, mixing), &c, mixing);
                let right = join(&a, &join(&b, &c, mixing), mixing);
                prop_assert_eq!(settled(&left), settled(&right));
            }
        }

        #[test]
        fn null_is_neutral_and_merging_repeats(a in node()) {
            prop_assert_eq!(&join(&a, &Node::default(), Mixing::Refuse), &a);
            prop_assert_eq!(&join(&Node::default(), &a, Mixing::Refuse), &a);
            prop_assert_eq!(settled(&join(&a, &a, Mixing::Refuse)), settled(&a));
        }
    }

    #[test]
    fn kinds_meet_as_documented() {
        let seen = |line| Seen { file: 0, line };
        let check = |a: Shape, b: Shape, want: Result<Type, &str>| {
            let mut node = Node::new(a, seen(1));
            node.merge(Node::new(b, seen(2)), Mixing::Refuse);
            let files = ["f.jsonl".to_owned()];
            let resolver = Resolver { files: &files, time_column: None, received: None };
            let got = resolver.inferred(&node, "x").map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned));
        };
        let int = |negative, big| Shape::Integer(Range { negative, big });
        check(int(true, false), int(false, false), Ok(Type::Int64));
        check(int(false, true), int(false, false), Ok(Type::UInt64));
        check(int(true, false), int(false, true), Ok(Type::Float64));
        check(int(false, false), Shape::Float, Ok(Type::Float64));
        check(Shape::Null, Shape::Boolean, Ok(Type::Boolean));
        check(
            int(false, false),
            Shape::Text(Times::default()),
            Err(
                "column `x` is `number` in `f.jsonl` line 1 and `string` in `f.jsonl` line 2; make them one type",
            ),
        );
        check(
            Shape::Boolean,
            Shape::List(Box::default()),
            Err(
                "column `x` is `boolean` in `f.jsonl` line 1 and `list` in `f.jsonl` line 2; make them one type",
            ),
        );
    }

    #[test]
    fn limits_hold() {
        let many: Vec<Field> =
            (0..=limits::COLUMNS_MAX).map(|n| Field::new(n.to_string(), Type::Null)).collect();
        assert!(matches!(check_limits(&many).unwrap_err(), IngestError::TooManyColumns));
        let mut deep = Field::new("x", Type::Int64);
        for _ in 0..limits::NESTING_MAX {
            deep = Field::new("x", Type::List { item: Box::new(deep) });
        }
        assert!(matches!(check_limits(&[deep]).unwrap_err(), IngestError::TooDeep { .. }));
    }
}
