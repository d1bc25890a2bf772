//! Every limit, once, with its unit and its reason. Whatever grows with input has one or streams.

/// Bytes of text that one gzip or zstd member aims at; a member ends behind a row. Large enough that
/// restarting the compressor's window costs under 1 %.
pub const MEMBER_BYTES: usize = 1 << 20;

/// Rows that the Parquet encoder writes at once. Part of the encoder id.
pub const CHUNK_ROWS: usize = 4096;

/// First rows of a file of text from which is measured how many rows come to a member.
pub const MEASURED_ROWS: usize = 256;

/// Rows in one member at most.
pub const MEMBER_ROWS_MAX: usize = 1 << 14;

/// Bytes of strings whose text one file's encoder keeps because dictionaries repeat them; others are written
/// one by one.
pub const DICTIONARY_TEXT_BYTES: usize = 16 << 20;

/// Bytes of decoded rows per chunk at which a chunk ends before it has all the rows it may: rows of a
/// megabyte must not make a chunk of gigabytes.
pub const CHUNK_BYTES: u64 = 8 << 20;

/// Bytes of rows and encoded text in flight in one process, over all parts.
pub const IN_FLIGHT_BYTES: usize = 64 << 20;

/// Bytes up to which a file is held in memory and put in one create-only call.
pub const PUT_BYTES_MAX: usize = 8 << 20;

/// Bytes of one piece of an upload to S3, all but the last alike, as some services want it. A file has at most
/// [`S3_PIECES_MAX`] of them; two are in memory.
pub const S3_PIECE_BYTES: usize = 16 << 20;

/// Pieces of one upload; S3 takes no more. They come to 156 GiB.
pub const S3_PIECES_MAX: usize = 10_000;

/// Seconds in which an object store has to take a connection.
pub const CONNECT_SECONDS: u64 = 10;

/// Seconds for which an object store may be silent while it answers.
pub const SILENCE_SECONDS: u64 = 60;

/// Seconds of one call to an object store in all: a piece over a line of 140 kB a second.
pub const CALL_SECONDS: u64 = 120;

/// Times a call to an object store is repeated after it failed in a way that passes.
pub const CALL_RETRIES: usize = 5;

/// Seconds from a call's beginning after which it is not repeated any more: a signature is valid for minutes.
pub const CALL_RETRY_SECONDS: u64 = 180;

/// Bytes of an answer that are read to learn why an object store refuses.
pub const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Bytes of one encoded file that a plan aims at when no maximum is given.
pub const PART_BYTES_TARGET: u64 = 256 << 20;

/// Bytes of stored files that are copied into one file, unless the first alone has more.
pub const COPY_BYTES_TARGET: u64 = 32 << 20;

/// Bytes of a stored file up to which a file of the export may be a copy of it; larger ones, which only an
/// import brings, are cut as usual.
pub const COPY_BYTES_MAX: u64 = 2 << 30;

/// Stored files that are copied into one file; their footers are held in memory.
pub const COPY_FILES_MAX: usize = 500;

/// Row groups that are copied into one file; Parquet counts them in 16 bits.
pub const COPY_GROUPS_MAX: usize = 10_000;

/// Parts of one run; beyond it the plan asks for larger files.
pub const PARTS_MAX: usize = 1_000_000;

/// Parts written to the ledger in one transaction.
pub const PARTS_PER_INSERT: usize = 500;

/// Files that a run may deliver into a dataset: all of them are listed in one transaction.
pub const INTO_FILES_MAX: u64 = 10_000;

/// Batches that a run may deliver into a dataset: each is a commit of that transaction.
pub const INTO_BATCHES_MAX: u64 = 1000;

/// Bytes of a file's path below its destination: stores take 1024 for all of it.
pub const PATH_BYTES_MAX: usize = 900;

/// Files that a manifest lists inside itself; a larger list goes to a JSON Lines sidecar.
pub const MANIFEST_FILES_MAX: usize = 50_000;

/// Bytes of a manifest that `verify` reads.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Manifests that `verify --chain` follows.
pub const CHAIN_MAX: usize = 100_000;

/// Rows read to estimate the encoded bytes of a row.
pub const SAMPLE_ROWS: usize = 8192;

/// Times one delivery step is tried in all before the run fails.
pub const DELIVERY_TRIES: u32 = 5;

/// Milliseconds of the first pause between tries; doubles each time.
pub const RETRY_PAUSE_MS: u64 = 100;

/// Seconds that a run's lease lasts without being renewed.
pub const LEASE_SECONDS: i64 = 30;

/// Characters of the reason for which a run ended, as the ledger keeps it.
pub const REASON_CHARS_MAX: usize = 4000;

/// Rows of one row group of a data file.
pub const ROW_GROUP_ROWS: usize = 250_000;

/// Bytes of one row group of a data file, in memory.
pub const ROW_GROUP_BYTES: usize = 64 << 20;

/// Bytes of one data file that an import writes; a larger import makes several files.
pub const DATA_FILE_BYTES: u64 = 512 << 20;

/// Bytes of rows, in memory, up to which a commit goes to the tail: a Parquet file would cost more than it
/// holds, and a database should not keep large things.
pub const TAIL_COMMIT_BYTES: usize = 1 << 20;

/// What that may be set to: a value of a database that is still written in one piece.
pub const TAIL_COMMIT_BYTES_MAX: usize = 16 << 20;

/// Bytes in the tail of a dataset at which it is due to be sealed.
pub const SEAL_BYTES: u64 = 64 << 20;

/// Seconds after which it is due.
pub const SEAL_SECONDS: i64 = 60;

/// Commits in the tail at which it is due: reading decodes each by itself.
pub const SEAL_COMMITS: u64 = 5000;

/// Bytes in the tail of a dataset beyond which small commits are refused until it is sealed.
pub const TAIL_BYTES_MAX: u64 = 256 << 20;

/// Bytes at which a merged data file is large enough.
pub const COMPACT_BYTES: u64 = 512 << 20;

/// Parts of a run that is run again: they are copied in one transaction, which holds up others of the workspace.
pub const RERUN_PARTS_MAX: u64 = 50_000;

/// Requests of one link in a second, once [`LINK_REQUESTS_BURST`] are used up.
pub const LINK_REQUESTS_PER_SECOND: u32 = 100;

/// Requests of one link at once: each is written to the log of changes.
pub const LINK_REQUESTS_BURST: u32 = 1000;

/// The same of the files that a project of a dialect fetches: a script may fetch a month of hours as quickly as it can.
pub const DOWNLOADS_PER_SECOND: u32 = 200;

/// Those at once.
pub const DOWNLOADS_BURST: u32 = 10_000;

/// Versions of a saved export that are kept; older ones are forgotten.
pub const EXPORT_VERSIONS_MAX: u64 = 1000;

/// Datasets of a group of exports.
pub const GROUP_DATASETS_MAX: usize = 200;

/// Days for which the files that a sealed run has read may be kept.
pub const RERUN_DAYS_MAX: u32 = 3650;

/// Days for which the files of a commit may be kept apart from others.
pub const BATCH_DAYS_MAX: u32 = 365;

/// Files of about one size, side by side, that are merged without being asked to.
pub const TEND_FILES: usize = 8;

/// Bytes of a file that is merged without being asked to: whoever imports waits for it.
pub const TEND_BYTES: u64 = 8 << 20;

/// Files merged into one at most: their rows of the catalog change in one short transaction.
pub const COMPACT_FILES_MAX: usize = 1000;

/// Commits whose rows are in one merged file at most: the catalog has an entry for each.
pub const COMPACT_COMMITS_MAX: usize = 10_000;

/// Bytes that files merged into one may have together.
pub const COMPACT_BYTES_MAX: u64 = 1 << 30;

/// Seconds that a merged file stays for those who began to read it; longer than any query may take, counting
/// for a plan ([`STAGING_SECONDS`]) included.
pub const MERGED_SECONDS: i64 = 2 * 3600;

/// Days that rows which have ended stay in older snapshots.
pub const ENDED_DAYS: i64 = 7;

/// Hours after which a data file that no commit names is a leftover.
pub const LEFTOVER_HOURS: i64 = 24;

/// Files that a sweep takes at once.
pub const SWEEP_FILES: u32 = 1000;

/// Days without a run after which an export's cursor no longer keeps rows from being removed, and after which
/// an open run no longer keeps files.
pub const PIN_DAYS_MAX: i64 = 30;

/// How many times larger than all that would join it a file may be to be written again for it.
pub const COMPACT_SHARE: u64 = 8;

/// Bytes of one line or record of text input; a longer one is an error that names its line.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Columns of a dataset, nested ones included.
pub const COLUMNS_MAX: usize = 10_000;

/// Nesting of types.
pub const NESTING_MAX: usize = 32;

/// Characters of the name of a dataset, view or export.
pub const NAME_CHARS_MAX: usize = 128;

/// Characters of one SQL text or expression; the planner's work grows with it.
pub const SQL_CHARS_MAX: usize = 100_000;

/// Views that refer to views, in depth.
pub const VIEW_DEPTH_MAX: usize = 16;

/// Seconds that one `sql` query may take, from its text to its last row: somebody waits for it.
pub const SQL_SECONDS: u64 = 300;

/// Seconds that computing a relation for one run may take, and counting its rows for a plan.
pub const STAGING_SECONDS: u64 = 3600;

/// Seconds that planning one SQL text may take before files are looked at; a planner cannot be stopped,
/// only left alone.
pub const SQL_PLANNING_SECONDS: u64 = 60;

/// Bytes of memory that one SQL query may hold before it spills or fails.
pub const SQL_MEMORY_BYTES: usize = 256 << 20;

/// Bytes that one SQL query may spill to disk.
pub const SQL_SPILL_BYTES: u64 = 16 << 30;

/// Bytes of one value that a growing SQL function (`repeat`, `lpad`, …) may make.
pub const SQL_VALUE_BYTES: u64 = 16 << 20;

/// Bytes that staging one relation may write.
pub const STAGED_BYTES_MAX: u64 = 64 << 30;

/// Rejected rows that `--partial` describes; the import fails beyond it.
pub const REJECTED_ROWS_MAX: u64 = 1_000_000;

/// Files in one import.
pub const IMPORT_FILES_MAX: usize = 10_000;

/// Characters of an idempotency key.
pub const KEY_CHARS_MAX: usize = 255;

/// Bytes of one path component that a name template may render; what common file systems take.
pub const FILE_NAME_BYTES_MAX: usize = 200;

/// Bytes of one line of JSON Lines that `verify` checks; a longer one is called broken. A row can be
/// larger than an input record, but no reader of the file would take such a line.
pub const VERIFY_LINE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of text beyond what a manifest says at which `verify` stops to unpack a file: a small file
/// must not keep it busy for days.
pub const VERIFY_EXCESS_BYTES: u64 = 64 << 20;

/// Differences that `verify` describes; the rest is counted.
pub const VERIFY_DIFFERENCES_MAX: usize = 10_000;

/// Bytes of one file of an upload: what a line of 100 MB/s brings in three minutes. Larger data is several files.
pub const UPLOAD_FILE_BYTES_MAX: u64 = 16 << 30;

/// Bytes of all files of one batch: closing it reads them twice, and they need their room twice meanwhile.
pub const UPLOAD_BYTES_MAX: u64 = 256 << 30;

/// Batches of a workspace that may be open; a client that makes more forgets to close them.
pub const UPLOADS_OPEN_MAX: u64 = 1000;

/// Files of uploads that a server takes at once; each holds [`UPLOAD_PIECE_BYTES`], and a place on the disk's queue.
pub const UPLOADS_AT_ONCE: usize = 64;

/// Bytes of a file that are written in one call: fewer would cost more in calls than in writing.
pub const UPLOAD_PIECE_BYTES: usize = 1 << 20;

/// Days without a new file after which an open batch is given up: a week end and some days.
pub const UPLOAD_DAYS: u64 = 7;

/// Hours that one file may take to come; what is begun before that belongs to nobody who is still there.
pub const UPLOAD_HOURS: i64 = 24;

/// Batches given up in one transaction, and files removed between two looks.
pub const UPLOAD_PAGE: u32 = 100;

/// MiB of bodies of rows that a server takes at once; each holds its body and some blocks of it. Sixteen of the largest, or as many
/// small ones as wait for the same fsync.
pub const IMPORT_MIB_AT_ONCE: u32 = 512;

/// Runs that a server works on at once; each spreads over the processors by itself.
pub const RUNS_AT_ONCE: usize = 4;

/// Of these, runs of one workspace while others wait.
pub const RUNS_AT_ONCE_OF_ONE: usize = 2;

/// Runs of a workspace that may be open; a client that opens more must wait for them.
pub const RUNS_OPEN_MAX: u64 = 1000;

/// Seconds after which an executor looks for runs that others left behind.
pub const RUNS_LOOK_SECONDS: u64 = 5;

/// Seconds after which a run that could not be finished is tried again; doubles each time, up to
/// [`RUN_AGAIN_SECONDS_MAX`].
pub const RUN_AGAIN_SECONDS: i64 = 5;

/// See [`RUN_AGAIN_SECONDS`].
pub const RUN_AGAIN_SECONDS_MAX: i64 = 600;

/// Seconds between two looks for chores of upkeep. A server does one at a time.
pub const KEEP_SECONDS: u64 = 30;

/// Hours between two times that files are merged and old rows removed.
pub const KEEP_HOURS: i64 = 1;

/// Seconds after which a job that waits is more urgent than those that have just come.
pub const OVERDUE_SECONDS: i64 = 600;

/// Days after which what a sealed run meant to write is forgotten: by then nobody is left that could write it late.
pub const INTENT_DAYS: i64 = 30;

/// Jobs of one workspace that a server looks at, at once; those that cannot be done for now are not due.
pub const JOBS_LOOKED_AT: u32 = 100;

/// Seconds between two looks for exports that are due.
pub const SCHEDULE_SECONDS: u64 = 1;

/// Slots of an export that wait, beyond which no more are made.
pub const SLOTS_WAITING_MAX: u32 = 1000;

/// Exports that are made due together.
pub const DUE_AT_ONCE: u32 = 200;

/// Runs of an export that may fail one after another before it stops running by itself.
pub const FAILURES_MAX: u32 = 10;

/// Seconds after which an export whose run failed is tried again; doubles each time, up to [`FAILED_AGAIN_SECONDS_MAX`].
pub const FAILED_AGAIN_SECONDS: i64 = 30;

/// See [`FAILED_AGAIN_SECONDS`].
pub const FAILED_AGAIN_SECONDS_MAX: i64 = 3600;

/// Tickets of a door and a workspace that wait for their turn: a script that asks for each hour of a month.
pub const TICKETS_WAITING_MAX: u64 = 1000;

/// Runs of a ticket that may fail one after another before it rests.
pub const TICKET_FAILURES_MAX: u32 = 3;

/// Seconds that it rests then; doubles with each failure more, up to [`TICKET_AGAIN_SECONDS_MAX`].
pub const TICKET_AGAIN_SECONDS: i64 = 60;

/// See [`TICKET_AGAIN_SECONDS`].
pub const TICKET_AGAIN_SECONDS_MAX: i64 = 3600;

/// Servers that may have begun with a ticket, or with its run: one that ends them all holds up no other for ever.
pub const TICKET_HOLDERS_MAX: u64 = 5;

/// Hours for which the files of a ticket stay after they were held: for downloads that have begun.
pub const TICKET_GRACE_HOURS: i64 = 24;

/// Runs of tickets whose files are taken away together.
pub const TICKET_RUNS: u32 = 100;

/// Days after which a ticket without files is forgotten.
pub const TICKET_DAYS: i64 = 7;

/// Saved exports of a workspace.
pub const EXPORTS_MAX: u64 = 10_000;

/// Minutes between two runs of a schedule at most: a year.
pub const EVERY_MINUTES_MAX: u32 = 527_040;

/// Minutes that a window waits for late rows at most: 30 days.
pub const LAG_MINUTES_MAX: u32 = 43_200;

/// Slots of one export that are looked at together.
pub const SLOTS_AT_ONCE: usize = 100;

/// Seconds after which a slot counts as missed.
pub const SLOT_GRACE_SECONDS: i64 = 60;

/// Seconds by which the clock of a service may differ from ours when a destination is tested. S3 refuses a quarter of an hour.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 300;

/// Seconds that a test of a destination may take.
pub const CHECK_SECONDS: u64 = 120;

/// Seconds for which a link opens what it is for, if nobody says how many.
pub const LINK_SECONDS: u64 = 3600;

/// Seconds for which it may at most: a week, as with the signed addresses of object stores.
pub const LINK_SECONDS_MAX: u64 = 7 * 86_400;

/// Links of a workspace, with those that were over for less than [`LINK_DAYS`].
pub const LINKS_MAX: u64 = 100_000;

/// Days for which a link that is over is still listed, and told from one that never was.
pub const LINK_DAYS: i64 = 7;

/// Addresses given out in one answer.
pub const LINK_FILES_MAX: usize = 1000;

/// Days for which the key of a request over HTTP is known.
pub const KEY_DAYS: i64 = 7;

/// Days for which tokens that expired or were taken back are still listed.
pub const TOKEN_DAYS: i64 = 90;

/// Hours after its end at which a failed or cancelled run is cleaned up once more.
pub const LATE_HOURS: i64 = 1;

/// Days after which nobody tries any more to clean up.
pub const CLEAN_DAYS: i64 = 7;

/// Seconds that cleaning up in one workspace may take at once: a server looks after the others, too.
pub const CLEAN_SECONDS: u64 = 300;

/// Runs of a workspace cleaned up together.
pub const CLEAN_RUNS: u32 = 100;

/// Rows of the ledger forgotten together.
pub const FORGET_ROWS: u32 = 10_000;

/// Questions in SQL that a server answers at once; each may take the memory of one query.
pub const QUESTIONS_AT_ONCE: usize = 4;

/// Settings and secrets of a destination; no kind of destination has so many.
pub const DESTINATION_FIELDS_MAX: usize = 32;

/// Bytes of a destination's URL; browsers and proxies take about as much.
pub const DESTINATION_URL_BYTES_MAX: usize = 2048;

/// Characters of the name of a setting or a secret.
pub const FIELD_CHARS_MAX: usize = 64;

/// Bytes of a setting of a destination.
pub const SETTING_BYTES_MAX: usize = 4096;

/// Bytes of a secret: a private key or the file of a service account, several times over.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// Secrets that are sealed anew in one transaction: writers of secrets wait for it.
pub const RESEAL_SECRETS: u32 = 100;

/// Connections that a server holds at once; others wait in the system's queue. Below the 1024 open files that a
/// process may have by default, so that files and the database can still be opened.
pub const CONNECTIONS_MAX: usize = 768;

/// Connections to the listener of operators, apart from the others so that a full server can still be watched.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Requests that a server works on at once unless told otherwise; each holds its head, and a place in the queue
/// of the database.
pub const REQUESTS_AT_ONCE: usize = 512;

/// Seconds for the handshake of TLS, and as many for the first request's head on a connection: before it, nobody
/// knows who is there.
pub const HEAD_SECONDS: u64 = 15;

/// Seconds until the next request's head is there. Longer than the 60 s for which common proxies keep a
/// connection that they may use again.
pub const IDLE_SECONDS: u64 = 75;

/// Seconds without progress after which an answer that nobody reads is cut off: it holds a place that others wait
/// for.
pub const STALL_SECONDS: u64 = 30;

/// Seconds that requests have to end when a server stops, unless told otherwise.
pub const DRAIN_SECONDS: u64 = 30;

/// Bytes of a request's head that are read; above what is answered with a problem (32 KiB of headers), so that
/// most of what is too large gets one.
pub const HEAD_BYTES_MAX: usize = 128 << 10;

/// Tokens that were not seen lately which one address may try in a second, once [`GUESSES_BURST`] are used up.
pub const GUESSES_PER_SECOND: u32 = 1;

/// Tokens that were not seen lately which one address may try at once: a network of clients behind one address
/// that all start together.
pub const GUESSES_BURST: u32 = 100;

/// Tokens, and addresses, whose rate is known one by one; those beyond share one rate. About 100 bytes each.
pub const RATES_MAX: usize = 50_000;

/// Tokens that were seen lately, so that their requests are not counted as guesses. About 100 bytes each.
pub const TOKENS_SEEN_MAX: usize = 50_000;
