//! Building the manifest of a run from its receipts.
//!
//! Pure: parts in, exact bytes out. The ledger freezes the bytes before they are delivered.

use chrono::{DateTime, Utc};

use model::CommitNumber;
use model::digest::sha256_hex;
use model::export::Advance;
use model::manifest::{FILE_NAME, File, FilesList, Manifest, Previous, Totals, VERSION};
use model::part::Part;
use model::run::{FrozenManifest, Plan, Run, Sidecar};

/// The name of the list of files beside a manifest that is too long to hold it.
pub(crate) const SIDECAR_NAME: &str = "files.jsonl";

/// Gathers the files of a run in part order.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
    totals: Totals,
}

impl Files {
    /// Adds a part's file. A part without rows has none.
    ///
    /// Shape: `None` if the part is not written yet.
    #[must_use]
    pub(crate) fn add(&mut self, part: Part) -> Option<()> {
        let receipt = part.receipt?;
        if receipt.rows == 0 {
            return Some(());
        }
        self.totals.rows += receipt.rows;
        self.totals.bytes += receipt.bytes;
        self.totals.files += 1;
        self.files.push(File {
            path: part.name,
            rows: receipt.rows,
            bytes: receipt.bytes,
            uncompressed_bytes: receipt.uncompressed_bytes,
            sha256: receipt.sha256,
            md5: receipt.md5,
            first_commit: receipt.first_commit,
            last_commit: receipt.last_commit,
        });
        Some(())
    }

    /// Writes the manifest. More than `files_max` files go to a list of their own.
    pub(crate) fn seal(
        self,
        (run, plan): (&Run, &Plan),
        previous: Option<Previous>,
        created_at: DateTime<Utc>,
        files_max: usize,
    ) -> FrozenManifest {
        let Self { files, totals } = self;
        let (files, sidecar) = if files.len() > files_max {
            (Vec::new(), Some(sidecar(&files)))
        } else {
            (files, None)
        };
        let asked = &run.definition.relation;
        let manifest = Manifest {
            version: VERSION,
            export: run.export_name.clone(),
            run: run.id.clone(),
            relation: asked.source.clone(),
            selection: asked.selection.clone(),
            snapshot_commit: run.to,
            from_commit: run.from,
            to_commit: run.to,
            reset: plan.reset.clone(),
            schema: (&plan.relation.output).into(),
            format: plan.encoding.spec.format.clone(),
            compression: plan.encoding.compression.clone(),
            encoder: plan.encoding.encoder.clone(),
            created_at,
            again: run.advance == Advance::Again,
            begins_after: (run.advance == Advance::Cursor && previous.is_none())
                .then_some(run.from)
                .filter(|from| *from != CommitNumber(0)),
            previous,
            totals,
            files,
            files_list: sidecar.as_ref().map(|sidecar| FilesList {
                path: sidecar.name.clone(),
                bytes: sidecar.text.len() as u64,
                sha256: sha256_hex(sidecar.text.as_bytes()),
            }),
        };
        let text = manifest.to_text();
        let sha256 = sha256_hex(text.as_bytes());
        let Totals { rows, bytes, files } = totals;
        FrozenManifest { text, sha256, rows, bytes, files, sidecar }
    }
}

/// Returns how the manifest of a run names that of an earlier one: both are at the same destination.
pub(crate) fn previous(run: &Run, (before, frozen): (&Run, &FrozenManifest)) -> Previous {
    let (here, there) = (run.folder(), before.folder());
    let pairs = here.split('/').zip(there.split('/'));
    let common = pairs.take_while(|(here, there)| here == there).count();
    let up = here.split('/').skip(common).map(|_| "..");
    let path: Vec<&str> = up.chain(there.split('/').skip(common)).chain([FILE_NAME]).collect();
    Previous { run: before.id.clone(), path: path.join("/"), sha256: frozen.sha256.clone() }
}

fn sidecar(files: &[File]) -> Sidecar {
    let mut text = String::new();
    for file in files {
        text.push_str(&serde_json::to_string(file).expect("a file has only string keys"));
        text.push('\n');
    }
    Sidecar { name: SIDECAR_NAME.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::export::Definition;
    use model::format::{EncoderId, Encoding, FormatSpec};
    use model::part::{PartId, Receipt};
    use model::relation::{BoundRelation, BoundTable, Relation, Selection, Source};
    use model::run::RunState;
    use model::schema::Schema;
    use model::{CommitNumber, ObjectKey, RunId, WorkspaceId};

    use super::*;

    fn spec() -> FormatSpec {
        FormatSpec {
            format: "jsonl".into(),
            compression: None,
            options: BTreeMap::new(),
            file_rows: None,
            file_bytes: None,
            name: None,
            folder: None,
            md5: false,
        }
    }

    fn run() -> (Run, Plan) {
        let now = DateTime::UNIX_EPOCH;
        let relation =
            Relation { source: Source::Dataset("d".into()), selection: Selection::default() };
        let definition =
            Definition { relation, format: spec(), destination: "file:///x".into(), meaning: None };
        let table = BoundTable {
            name: "d".into(),
            dataset: None,
            schema: Schema::default(),
            virtual_columns: false,
        };
        let plan = Plan {
            relation: BoundRelation {
                sql: "select * from d".into(),
                views: Vec::new(),
                table,
                now,
                output: Schema::default(),
                filtered: false,
            },
            encoding: Encoding {
                copies: false,
                spec: spec(),
                compression: "none".into(),
                encoder: EncoderId("e".into()),
                extension: ".jsonl".into(),
            },
            parts: 3,
            rows: 9,
            reset: vec![CommitNumber(4)],
            md5: false,
        };
        let run = Run {
            id: RunId::new("r2"),
            workspace: WorkspaceId::default_workspace(),
            export: None,
            export_name: Some("daily".into()),
            definition,
            advance: Advance::Cursor,
            state: RunState::Running,
            from: CommitNumber(3),
            to: CommitNumber(5),
            epoch: 1,
            cancel_asked: false,
            plan: None,
            manifest: None,
            error: None,
            owner: "t".into(),
            leased: true,
            created_at: now,
            ended_at: None,
        };
        (run, plan)
    }

    fn part(sequence: u32, rows: u64) -> Part {
        let receipt = Receipt {
            key: ObjectKey::new("k"),
            rows_read: 3,
            rows,
            bytes: rows * 10,
            uncompressed_bytes: rows * 20,
            sha256: "00".into(),
            md5: None,
            first_commit: Some(CommitNumber(4)),
            last_commit: Some(CommitNumber(5)),
            values_lost: 0,
            duration_ms: 7,
        };
        let name = format!("p{sequence}.jsonl");
        Part { id: PartId::planned(sequence), inputs: Vec::new(), name, receipt: Some(receipt) }
    }

    fn frozen(rows: &[u64], files_max: usize) -> (Manifest, FrozenManifest) {
        let (run, plan) = run();
        let mut files = Files::default();
        for (n, rows) in rows.iter().enumerate() {
            files.add(part(u32::try_from(n).expect("few"), *rows)).expect("written");
        }
        let frozen = files.seal((&run, &plan), None, DateTime::UNIX_EPOCH, files_max);
        (serde_json::from_str(&frozen.text).expect("a manifest"), frozen)
    }

    #[test]
    fn parts_without_rows_are_left_out_and_the_rest_stay_in_order() {
        let (manifest, frozen) = frozen(&[2, 0, 3], 10);
        let paths: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["p0.jsonl", "p2.jsonl"]);
        assert_eq!(manifest.totals, Totals { rows: 5, bytes: 50, files: 2 });
        assert_eq!((frozen.rows, frozen.bytes, frozen.files), (5, 50, 2));
        assert_eq!(frozen.sha256, sha256_hex(frozen.text.as_bytes()));
        assert_eq!((manifest.from_commit, manifest.to_commit), (CommitNumber(3), CommitNumber(5)));
        assert_eq!(manifest.reset, [CommitNumber(4)]);
    }

    #[test]
    fn an_empty_run_has_a_manifest_too() {
        let (manifest, _) = frozen(&[], 10);
        assert_eq!(manifest.totals, Totals::default());
        assert!(manifest.files.is_empty() && manifest.files_list.is_none());
    }

    #[test]
    fn one_file_over_the_limit_moves_the_list_out() {
        let (manifest, short) = frozen(&[1, 1], 2);
        assert!(manifest.files_list.is_none() && short.sidecar.is_none());
        let (manifest, long) = frozen(&[1, 1, 1], 2);
        let (list, sidecar) = (manifest.files_list.expect("listed"), long.sidecar.expect("beside"));
        assert!(manifest.files.is_empty());
        assert_eq!(list.path, sidecar.name);
        assert_eq!(list.sha256, sha256_hex(sidecar.text.as_bytes()));
        let lines: Vec<File> =
            sidecar.text.lines().map(|line| serde_json::from_str(line).expect("a file")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(manifest.totals.files, 3);
    }

    #[test]
    fn only_a_range_delivered_once_more_says_so() {
        let (run, plan) = run();
        for (advance, again) in
            [(Advance::Cursor, false), (Advance::None, false), (Advance::Again, true)]
        {
            let run = Run { advance, ..run.clone() };
            let files = Files::default();
            let frozen = files.seal((&run, &plan), None, DateTime::UNIX_EPOCH, 1);
            let manifest: Manifest = serde_json::from_str(&frozen.text).expect("a manifest");
            assert_eq!(manifest.again, again, "{advance:?}");
            assert_eq!(frozen.text.contains("\n  \"again\": true,\n"), again, "{advance:?}");
        }
    }

    #[test]
    fn a_part_that_is_not_written_is_noticed() {
        let unwritten = Part { receipt: None, ..part(0, 1) };
        assert_eq!(Files::default().add(unwritten), None);
    }

    #[test]
    fn the_manifest_before_lies_in_the_folder_beside() {
        let (before, plan) = run();
        let frozen = Files::default().seal((&before, &plan), None, DateTime::UNIX_EPOCH, 1);
        let mut run = Run { id: RunId::new("r3"), ..before.clone() };
        let sealed = previous(&run, (&before, &frozen));
        assert_eq!((&*sealed.path, &sealed.sha256), ("../r2/manifest.json", &frozen.sha256));
        // Folders may have been called otherwise meanwhile.
        run.definition.format.folder = Some("{date:%Y/%m}/{export}/{run}".into());
        assert_eq!(run.folder(), "1970/01/daily/r3");
        let sealed = previous(&run, (&before, &frozen));
        assert_eq!(sealed.path, "../../../../daily/r2/manifest.json");
    }
}
