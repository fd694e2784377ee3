//! Every bound on what comes from outside: its name, its value, the attack or accident that it stops.

/// Associations (PS3.7, PS3.8).
pub mod association {
    use std::time::Duration;

    /// Longest P-DATA-TF that is accepted, and proposed to peers: a length that claims gigabytes ends the association.
    pub const MAX_PDU: u32 = 256 * 1024;
    /// Longest PDU of any other kind: an association request with every context and user item that there can be.
    pub const MAX_ASSOCIATE_PDU: u32 = 128 * 1024;
    /// Most presentation contexts of a request: there are no more odd numbers in a byte (PS3.8 9.3.2.2).
    pub const MAX_CONTEXTS: usize = 128;
    /// Presentation contexts that were not accepted, and transfer syntaxes of one, that log and audit trail name.
    pub const MAX_CONTEXTS_TOLD: usize = 8;
    /// Longest command set; a fragmented command could grow without end.
    pub const MAX_COMMAND: usize = 16 * 1024;
    /// Most elements of a command set; each costs an allocation.
    pub const MAX_COMMAND_ELEMENTS: usize = 64;
    /// Longest data set of one instance: a peer could send for ever.
    pub const MAX_DATASET: u64 = 4 * 1024 * 1024 * 1024;
    /// Most bytes of a data set that are held until it names its study; a peer could put gigabytes before the UID.
    pub const MAX_FRONT: usize = 4 * 1024 * 1024;
    /// Associations at once, all callers together.
    pub const MAX_ASSOCIATIONS: usize = 128;
    /// Associations at once from one address: one caller cannot take them all.
    pub const MAX_ASSOCIATIONS_PER_CALLER: usize = 64;
    /// Connections at once, those that asked for no association yet among them: each is an open file.
    pub const MAX_CONNECTIONS: usize = 512;
    /// Connections from one address that asked for no association yet: half-open ones cannot take the places of others.
    pub const MAX_HALF_OPEN_PER_CALLER: usize = 64;
    /// Calls of this node to itself at once: each takes a port.
    pub const MAX_OWN_CALLS: usize = 4;
    /// From the connection to the association request (ARTIM, PS3.8 9.1.5), and before it for a TLS handshake: half-open
    /// connections are let go.
    pub const ARTIM: Duration = Duration::from_secs(15);
    /// From one message to the next; an association that is only held open ends here.
    pub const IDLE: Duration = Duration::from_mins(1);
    /// From one fragment of a message to the next: a sender that stops within an instance is let go.
    pub const FRAGMENT: Duration = Duration::from_secs(30);
    /// From the first byte of a PDU to its last: a peer that drips bytes is let go.
    pub const READ: Duration = Duration::from_secs(30);
    /// From a message's first fragment to its last: one that drips fragments would hold its study open for ever.
    pub const MESSAGE: Duration = Duration::from_hours(1);
    /// For what is sent to be taken: a peer that does not read is let go.
    pub const WRITE: Duration = Duration::from_secs(30);
    /// From a C-STORE request of ours to its response: an archive may be slow, but not dead.
    pub const RESPONSE: Duration = Duration::from_mins(2);
    /// Most matches to a query for one study, which is unique: a peer that answers with more did not look at the key.
    pub const MAX_MATCHES: usize = 16;
    /// Longest match: a few names and numbers of a study.
    pub const MAX_IDENTIFIER: usize = 64 * 1024;
    /// From the order to stop to the end of the associations that still run.
    pub const DRAIN: Duration = Duration::from_secs(20);
    /// The same for associations on which nothing is being sent: senders that keep one open do not hold up a restart.
    pub const DRAIN_IDLE: Duration = Duration::from_secs(2);
    /// For a peer to read our last PDU before its connection is closed (PS3.8 9.1.4: state 13).
    pub const LINGER: Duration = Duration::from_secs(2);
}

/// Data sets (PS3.5).
pub mod dataset {
    /// Deepest nesting of sequences; deeper ones exhaust the stack of readers that recurse.
    pub const MAX_NESTING: usize = 32;
    /// Most elements that are looked at in one data set; more are a decompression or parser bomb.
    pub const MAX_ELEMENTS: usize = 1_000_000;
    /// Longest value that the header keeps; longer ones are skipped over, not read.
    pub const MAX_HEADER_VALUE: usize = 64 * 1024;
    /// Longest header (all kept values); a header is held in memory for each instance of a study.
    pub const MAX_HEADER: usize = 4 * 1024 * 1024;
    /// Longest DICOM file that a tool reads.
    pub const MAX_FILE: u64 = 4 * 1024 * 1024 * 1024;
    /// Most bytes that a deflated data set may inflate to; more is a decompression bomb.
    pub const MAX_INFLATED: u64 = 512 * 1024 * 1024;
}

/// The spool.
pub mod spool {
    /// Length of a segment of the log: long enough that changing it is rare, short enough to be made in a moment.
    pub const DEFAULT_SEGMENT: u64 = 64 * 1024 * 1024;
    /// Bytes of the log, unless the configuration says otherwise.
    pub const DEFAULT_QUOTA: u64 = 64 * 1024 * 1024 * 1024;
    /// Bytes that instances leave free, so that a full disk stops neither jobs nor deliveries.
    pub const DEFAULT_RESERVE: u64 = 512 * 1024 * 1024;
    /// Most bytes of an instance that are held in memory; a larger one is written in parts of this length.
    pub const PART: usize = 4 * 1024 * 1024;
    /// Longest Study Instance UID (PS3.5 6.2: UI); a longer one is none, and a key slot has room for no more.
    pub const MAX_STUDY_UID: usize = 64;
    /// Longest instance; a sender that never ends must not fill the disk with one.
    pub const MAX_INSTANCE: u64 = 16 * 1024 * 1024 * 1024;
    /// Longest key of a table; all keys are in memory.
    pub const MAX_KEY: usize = 1024;
    /// Longest value of a table; all values are in memory.
    pub const MAX_VALUE: usize = 8 * 1024 * 1024;
}

/// Studies and series.
pub mod study {
    use std::time::Duration;

    /// Most instances of one study; more are a sender's loop, and would hold a study's assembly in memory.
    pub const MAX_INSTANCES: usize = 20_000;
    /// Longest time that a study is held open while instances keep coming: after it the study is taken as it is, so that
    /// a sender that never pauses cannot keep results back for ever.
    pub const MAX_OPEN: Duration = Duration::from_hours(1);
    /// Most requests, or issuers, that an identity takes from one instance; more are nobody's worklist.
    pub const MAX_REQUESTS: usize = 16;
    /// Most studies that are completed at the same time; each reads its instances, one after the other, into memory.
    pub const MAX_COMPLETING: usize = 2;
    /// Most studies of which it is remembered that instances were refused, until their timelines say so.
    pub const MAX_LACKING: usize = 1000;
    /// Most refused instances of a study that are known by their UIDs, to see whether they come after all.
    pub const MAX_LACKING_INSTANCES: usize = 1000;
    /// Most entries on a study's timeline; older ones stay in the audit trail.
    pub const MAX_TIMELINE: usize = 200;
}

/// Decoding.
pub mod decode {
    /// Most bytes of one decoded frame; Rows and Columns can claim 4 GiB for a frame of a few bytes.
    pub const MAX_FRAME: u64 = 1024 * 1024 * 1024;
    /// Most bytes of all that is decoded for one job, and of deflated data sets in it; more does not fit the worker.
    pub const MAX_DECODED: u64 = 2 * 1024 * 1024 * 1024;
    /// Most frames of one instance; each has a place and a source of its own.
    pub const MAX_FRAMES: usize = 65_536;
    /// Most tiles of a JPEG 2000 frame; its decoder holds some kilobytes for each that is claimed.
    pub const MAX_TILES: u64 = 4096;
}

/// Model packages.
pub mod model {
    use std::time::Duration;

    /// Longest manifest.
    pub const MAX_MANIFEST: u64 = 256 * 1024;
    /// Longest network file.
    pub const MAX_NETWORK: u64 = 2 * 1024 * 1024 * 1024;
    /// Most steps: a manifest must not be a program without end.
    pub const MAX_STEPS: usize = 256;
    /// Most voxels that a step may be told to make: 4 GiB of real numbers.
    pub const MAX_VOXELS: usize = 1 << 30;
    /// Most files of a golden case.
    pub const MAX_FILES: usize = 5_000;
    /// Most inputs, and most outputs, of a network's graph.
    pub const MAX_PORTS: usize = 1_000;
    /// Longest name or description of one of them, in bytes.
    pub const MAX_PORT: u64 = 64 * 1024;
    /// Most constants of a network's graph; their names are kept while it is read.
    pub const MAX_WEIGHTS: usize = 100_000;
    /// Most GPU architectures that an engine is compiled for at once.
    pub const MAX_ARCHITECTURES: usize = 16;
    /// Longest mask of a golden case: a bit for each voxel that a step may make.
    pub const MAX_MASK: u64 = (MAX_VOXELS / 8) as u64;
    /// Longest document of a package: model card, licence, bill of materials.
    pub const MAX_DOCUMENT: u64 = 16 * 1024 * 1024;
    /// Largest packed package.
    pub const MAX_PACKED: u64 = 16 * 1024 * 1024 * 1024;
    /// Most files of a package.
    pub const MAX_MEMBERS: usize = 20_000;
    /// Longest name of one, in bytes: what a ustar header takes.
    pub const MAX_MEMBER_NAME: usize = 100;
    /// Longest list of members.
    pub const MAX_LIST: usize = MAX_MEMBERS * (64 + 2 + MAX_MEMBER_NAME + 1);
    /// Longest envelope of signatures.
    pub const MAX_ENVELOPE: u64 = 64 * 1024;
    /// Longest file of a key.
    pub const MAX_KEY: u64 = 16 * 1024;
    /// Most signatures in it.
    pub const MAX_SIGNATURES: usize = 16;
    /// Longest time in which an engine is compiled on the box; the next choice serves meanwhile.
    pub const COMPILE_TIME: Duration = Duration::from_mins(30);
    /// Most network sessions for different image shapes that are kept.
    pub const MAX_SESSIONS: usize = 8;
    /// Longest side of an image that is given to a network.
    pub const MAX_SIDE: usize = 4096;
}

/// The worker.
pub mod worker {
    /// Longest message between agent and worker; a worker that was taken over could claim any length.
    pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
    /// Most files of one job; each is an open descriptor in both processes.
    pub const MAX_FILES: usize = 250;
    /// Most GPUs, and parts of them, of one box: a DGX has 8 of 7 parts. One worker for each.
    pub const MAX_DEVICES: usize = 56;
    /// Most studies at once on one GPU: each holds its samples and masks in the worker's memory, and a thread of the agent.
    pub const MAX_PLACES: usize = 4;
    /// Longest code of a worker's refusal; it stands in the audit trail and in reports.
    pub const MAX_CODE: usize = 64;
    /// Longest reason of a worker's refusal, in characters; it goes into reports, and must not fill them.
    pub const MAX_REASON: usize = 1024;
    /// Most source frames of one answer; each gets its names here.
    pub const MAX_SOURCES: usize = 262_144;
    /// Most bytes of masks and pictures that a worker returns for one job.
    pub const MAX_BULK: u64 = 2 * 1024 * 1024 * 1024;
}

/// The GPU.
pub mod device {
    use std::time::Duration;

    /// Hundredths of the GPU's memory that networks may take; the rest is for what runs, and for the driver.
    pub const BUDGET_PERCENT: u64 = 80;
    /// Longest time that a run waits for others of its network and shape, to run with them as one batch.
    pub const BATCH_WAIT: Duration = Duration::from_millis(2);
    /// Most inputs of one batch, whatever the network takes: each has its samples in page-locked memory.
    pub const MAX_BATCH: usize = 16;
    /// Most values in the inputs of one batch, as engines are compiled: what runs holds the GPU's memory.
    pub const MAX_BATCH_VALUES: u64 = 16 << 20;
    /// Most runs that wait; each holds its input. A worker has far fewer tasks.
    pub const MAX_WAITING: usize = 64;
    /// Longest time of a batch; a GPU that takes longer hangs, and the worker ends.
    pub const RUN: Duration = Duration::from_mins(1);
    /// How often a GPU that works is asked whether it is done.
    pub const POLL: Duration = Duration::from_micros(100);
}

/// Jobs.
pub mod job {
    use std::time::Duration;

    /// Longest time that a job waits for a worker while none can be had: a unit that is restarted costs no answer, and a
    /// clinician does not wait for one that will not come.
    pub const WORKER_WAIT: Duration = Duration::from_mins(5);
}

/// Delivery.
pub mod deliver {
    use std::time::Duration;

    /// First pause after a destination failed; doubled each time, so that a PACS that comes back is not flooded.
    pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
    /// Longest pause between two attempts.
    pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);
    /// Attempts after which a result is put aside with its reason, for a person to look at.
    pub const MAX_ATTEMPTS: u32 = 2016;
    /// Most results on one association, so that a slow destination gives way to newer results.
    pub const MAX_BATCH: usize = 64;
    /// From the order to stop to the end of a transfer that is under way: a result whose answer does not come by then is
    /// sent again after the next start.
    pub const DRAIN: Duration = Duration::from_secs(20);
}

/// Recalls.
pub mod recall {
    /// Longest reason, in characters; it goes into every note, timeline and audit event of the recall.
    pub const MAX_REASON: usize = 400;
    /// Longest version of a package that can be asked for, in bytes; it becomes part of a key.
    pub const MAX_VERSION: usize = 64;
}

/// What the worker tells that watches the GPUs.
pub mod gpus {
    use std::time::Duration;

    /// From the start of the agent until it knows what the GPUs are that the configuration names: a driver that hangs must
    /// not hold up the node.
    pub const DESCRIBED: Duration = Duration::from_secs(10);
    /// From one word to the next: a worker that says nothing hangs with its driver, and is ended.
    pub const SILENCE: Duration = Duration::from_mins(1);
    /// Most words in a minute; figures are four, errors at most one a second. A worker that talks without end is ended.
    pub const MAX_WORDS: u32 = 120;
    /// Most different errors of one word; each is a line of the log.
    pub const MAX_ERRORS: usize = 64;
    /// Longest UUID of a GPU; it labels metrics.
    pub const MAX_NAME: usize = 64;
    /// Most GPUs that are told of for as long as the agent runs: each has metrics that stay, and a worker that was taken over
    /// could make up any number.
    pub const MAX_GPUS: usize = 64;
    /// Resident memory of the worker, in bytes: the driver's library, and what it knows of the GPUs.
    pub const MEMORY: u64 = 512 * 1024 * 1024;
    /// After a worker was lost, at first; doubled each time, until one has lasted for the longest.
    pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
    /// The same, at most.
    pub const LONGEST_PAUSE: Duration = Duration::from_mins(30);
    /// Most workers that hang; then there are no more until the agent's next start. One that hangs in the kernel does not end,
    /// and takes a connection of those that the workers of studies need.
    pub const MAX_HANGS: u32 = 4;
}

/// The agent as a whole.
pub mod agent {
    use std::time::Duration;

    /// From the order to stop to the end; a job that runs longer is taken up again at the next start.
    pub const DRAIN: Duration = Duration::from_mins(1);
    /// Then until console and control socket are closed, whoever still listens to them.
    pub const DARK: Duration = Duration::from_secs(2);
    /// From one sign of life of a start to the next: one that hangs is ended by systemd, however long others may take.
    pub const START_SILENCE: Duration = Duration::from_mins(1);
    /// For the lock of a spool whose agent was killed: a worker that it was starting lets go of it once it runs.
    pub const LEFT_LOCK: Duration = Duration::from_secs(5);
    /// For that of the audit log, of which the spool's lock goes before by an instant.
    pub const LAST_LOCK: Duration = Duration::from_millis(100);
    /// Between two signs of life of a start.
    pub const START_PULSE: Duration = Duration::from_secs(1);
}

/// Folders of DICOM files that are given to a command.
pub mod trial {
    /// Most files below the folder.
    pub const MAX_FILES: usize = 200_000;
    /// Deepest nesting of folders.
    pub const MAX_DEPTH: usize = 32;
    /// Most rounds of `sund model bench`: their times are kept.
    pub const MAX_ROUNDS: usize = 100_000;
}

/// The local control socket.
pub mod control {
    use std::time::Duration;

    /// Longest request; there is none that needs more.
    pub const MAX_REQUEST: u64 = 4 * 1024;
    /// Longest answer that is read: a state with every study that is shown.
    pub const MAX_ANSWER: u64 = 64 * 1024 * 1024;
    /// Conversations at once.
    pub const MAX_CONNECTIONS: usize = 8;
    /// For one conversation: a client that dawdles gives its place back.
    pub const PATIENCE: Duration = Duration::from_secs(30);
    /// The same of a recall, which writes twice for each study: a year of a hospital's.
    pub const RECALL_PATIENCE: Duration = Duration::from_mins(30);
}

/// The socket by which the updater reaches the agent, and what it brings.
pub mod channel {
    use std::time::Duration;

    /// Longest request: an offer of every package and route that a state may have, with the keys of their vendors.
    pub const MAX_REQUEST: u64 = 1024 * 1024;
    /// Longest answer that is read.
    pub const MAX_ANSWER: u64 = 4 * 1024 * 1024;
    /// Conversations at once: the updater has one.
    pub const MAX_CONNECTIONS: usize = 4;
    /// For one conversation: an updater that dawdles gives its place back. Golden cases are not waited for in it.
    pub const PATIENCE: Duration = Duration::from_mins(1);
    /// Longest name of a state; it stands in logs and on the console.
    pub const MAX_NAME: usize = 100;
    /// Most packages of one state; each is a file that is held open.
    pub const MAX_PACKAGES: usize = 64;
    /// Most routes of one state.
    pub const MAX_ROUTES: usize = 256;
    /// Most keys that are pinned for one vendor: each is tried on each signature of its packages.
    pub const MAX_VENDOR_KEYS: usize = 16;
    /// Most events of the updater at once: each is on stable storage before the next, and the answer has its time.
    pub const MAX_EVENTS: usize = 64;
    /// Longest record of what serves.
    pub const MAX_RECORD: u64 = 4 * 1024 * 1024;
    /// For the node to answer its own echo.
    pub const ECHO: Duration = Duration::from_secs(5);
    /// Golden cases of what serves that are asked for again give way to jobs for so long, and not for longer: a box that is never idle
    /// is watched too.
    pub const CHECK_PATIENCE: Duration = Duration::from_mins(1);
    /// Times that golden cases of what serves are tried while no worker is to be had, with pauses of 1, 2, 4 and 8 s: a unit that is
    /// restarted is no miss of a model.
    pub const MAX_CHECK_TRIES: u32 = 5;
    /// Longest time for which jobs are held at once: an updater that forgets it keeps no study waiting for longer.
    pub const MAX_HOLD: Duration = Duration::from_hours(1);
    /// After a connection that could not be taken, at first; doubled each time. The system may be out of descriptors.
    pub const FIRST_PAUSE: Duration = Duration::from_millis(20);
    /// The same, at most.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);
}

/// The site's acceptance cohort.
pub mod cohort {
    use std::time::Duration;

    /// Longest file of expectations.
    pub const MAX_EXPECTATIONS: u64 = 1024 * 1024;
    /// Most studies: each is run by each model before a state may serve.
    pub const MAX_STUDIES: usize = 1000;
    /// Most expectations of one study, and measured values of one of those.
    pub const MAX_OF_STUDY: usize = 64;
    /// Longest name of a folder, a model, a measured value or a unit, in bytes.
    pub const MAX_NAME: usize = 200;
    /// For all studies: less than an updater waits for a trial, so that the reason is told.
    pub const MAX_TIME: Duration = Duration::from_mins(100);
}

/// Models that are switched off by a person or by the region.
pub mod suspended {
    /// Most of them at once: each is in memory.
    pub const MAX_SUSPENDED: usize = 256;
    /// Longest list of what the region suspends, in bytes: as long as the document that it may publish, and as the updater tells.
    pub const MAX_LIST: usize = 256 * 1024;
    /// Of these, for each entry beside its words: less than the document has for it.
    pub const PER_ENTRY: usize = 32;
    /// Changes of that list that are an audit event each.
    pub const MAX_TOLD: usize = 64;
    /// Longest name of a package, in bytes.
    pub const MAX_NAME: usize = 100;
    /// Longest reason, in characters: it goes into reports.
    pub const MAX_REASON: usize = 500;
}

/// Configuration files.
pub mod config {
    /// Longest file; a longer one is not a configuration, and would be held in memory.
    pub const MAX_FILE: u64 = 1024 * 1024;
    /// Longest file that says which ports the firewall knows, against a path that names something else.
    pub const MAX_PORTS: u64 = 16 * 1024;
    /// Most sections of one kind (callers, routes, destinations, models, users): each is checked against the others.
    pub const MAX_ENTRIES: usize = 1000;
}

/// The console.
pub mod console {
    use std::time::Duration;
    /// Open connections; more, each with its buffers, would take the memory of the data path.
    pub const MAX_CONNECTIONS: usize = 256;
    /// Open connections from one address; one browser or one attacker cannot take them all.
    pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 32;
    /// Longest request head (request line and headers); a longer one is an attempt to fill memory.
    pub const MAX_HEAD: usize = 16 * 1024;
    /// Most headers in a request; each costs parsing and an allocation.
    pub const MAX_HEADERS: usize = 64;
    /// Longest request body; only the login form and orders have one.
    pub const MAX_BODY: usize = 4 * 1024;
    /// Time for a TLS handshake; a peer that never finishes would hold a connection for ever.
    pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
    /// Time for a request's head to come, also on an idle connection (slow-header attack).
    pub const HEAD_TIME: Duration = Duration::from_secs(30);
    /// Time for a request to be answered, its body included (slow-body attack).
    pub const REQUEST_TIME: Duration = Duration::from_secs(10);
    /// Time for which a page waits for what it has ordered; a recall of a year takes longer, and goes on.
    pub const ORDER_WAIT: Duration = Duration::from_secs(8);
    /// How long what a dry run found is kept for whoever asks the same again.
    pub const ORDER_KEPT: Duration = Duration::from_mins(10);
    /// Life of one connection; a peer that reads slowly or never cannot hold one longer. Browsers come back by themselves.
    pub const CONNECTION_LIFE: Duration = Duration::from_hours(1);
    /// Open event streams; each keeps its connection.
    pub const MAX_EVENT_STREAMS: usize = 64;
    /// Shortest time between two events of a stream; a busy node must not make each browser ask a thousand times a second.
    pub const EVENT_INTERVAL: Duration = Duration::from_millis(250);
    /// Time between two signs of life on a quiet event stream; proxies cut silent ones.
    pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
    /// Time that open connections get to end when the agent stops.
    pub const DRAIN_TIME: Duration = Duration::from_secs(5);
    /// The updater's status file in bytes; a longer one is something else.
    pub const MAX_UPDATER_STATUS: u64 = 256 * 1024;
    /// Seconds by which the updater may be late before its status counts as old: it may be starting.
    pub const UPDATER_LATE: i64 = 300;
    /// Studies in a status; a page with every study of a year would be no use and would not load.
    pub const MAX_STUDIES_SHOWN: usize = 200;
    /// Failed logins from one address in `LOGIN_WINDOW` before it has to wait (guessing passwords).
    pub const MAX_FAILURES_PER_ADDRESS: u32 = 5;
    /// Failed logins as one user in `LOGIN_WINDOW`, from wherever (guessing from many addresses).
    pub const MAX_FAILURES_PER_USER: u32 = 20;
    /// Window in which failed logins count.
    pub const LOGIN_WINDOW: Duration = Duration::from_mins(1);
    /// Addresses whose failed logins are remembered; an attacker with many addresses must not fill memory.
    pub const MAX_FAILING_ADDRESSES: usize = 1024;
    /// Passwords checked at once: argon2id takes 19 MiB and one core for each.
    pub const MAX_LOGINS_AT_ONCE: usize = 2;
    /// Longest user name and longest password, in bytes.
    pub const MAX_CREDENTIAL: usize = 256;
    /// Open sessions; the oldest ends when one more begins.
    pub const MAX_SESSIONS: usize = 256;
    /// Life of a session: a working day; a stolen cookie is of no use the day after.
    pub const SESSION_LIFE: Duration = Duration::from_hours(10);
}

/// The clinical certificate.
pub mod certificate {
    use std::time::Duration;

    /// Longest file of certificates or of a key.
    pub const MAX_FILE: u64 = 64 * 1024;
    /// Most certificates in a chain, and in an answer of an EST server: each is verified.
    pub const MAX_CHAIN: usize = 8;
    /// Most names of a node.
    pub const MAX_NAMES: usize = 16;
    /// Longest answer of an EST server, head and body each.
    pub const MAX_ANSWER: usize = 128 * 1024;
    /// Longest text of such a server that is quoted, in characters.
    pub const MAX_TEXT: usize = 200;
    /// For one question to it, connection and answer.
    pub const EST_TIME: Duration = Duration::from_secs(30);
    /// Longest wait that it may ask for.
    pub const MAX_RETRY: Duration = Duration::from_hours(24);
    /// How often it is looked whether the certificate is another one, or has to be renewed.
    pub const LOOK: Duration = Duration::from_secs(30);
    /// After a renewal that failed, at first; doubled each time.
    pub const FIRST_PAUSE: Duration = Duration::from_mins(1);
    /// The same, at most.
    pub const LONGEST_PAUSE: Duration = Duration::from_hours(6);
    /// So long before its end a certificate is an alarm, unless the configuration says otherwise.
    pub const ALARM: Duration = Duration::from_hours(21 * 24);
    /// Longest one-time password that is read, in bytes.
    pub const MAX_PASSWORD: u64 = 1024;
}

/// The collection of the audit log.
pub mod forward {
    use std::time::Duration;

    /// Most events of one connection, and so of what may have to be sent twice.
    pub const MAX_BATCH: usize = 500;
    /// Most bytes of their lines.
    pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
    /// For one connection, from its beginning to its end in order.
    pub const SEND_TIME: Duration = Duration::from_mins(1);
    /// Between two connections: what happens meanwhile goes together.
    pub const GATHER: Duration = Duration::from_millis(500);
    /// After a connection that failed, at first; doubled each time.
    pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
    /// The same, at most.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);
    /// Most bytes that a collector may say; it has nothing to say.
    pub const MAX_SAID: usize = 4096;
    /// How often it is looked for files that were kept for their time.
    pub const PRUNE: Duration = Duration::from_hours(1);
    /// Longest file that says how far the collection has come.
    pub const MAX_CURSOR: u64 = 4096;
}

/// What the log warned of, until it is collected.
pub mod records {
    /// All together, in bytes: against a collector that never comes back and peers that are refused without end, some 100000 records.
    pub const MAX_KEPT: u64 = 64 * 1024 * 1024;
    /// Length at which a file is closed; one connection takes one file.
    pub const MAX_FILE: u64 = 256 * 1024;
    /// Longest record, in bytes: a collector takes no messages of any length.
    pub const MAX_RECORD: u64 = 16 * 1024;
}

/// What the system says of itself.
pub mod system {
    /// An os-release in bytes, against a path that names something else.
    pub const MAX_RELEASE: u64 = 64 * 1024;
    /// Characters of what a variant is called: it stands in one line of a page.
    pub const MAX_VARIANT: usize = 48;
}

/// The support bundle.
pub mod support {
    /// Last lines of the log that are looked at.
    pub const MAX_LINES: usize = 2000;
    /// Most bytes of a log's end that are read.
    pub const MAX_LOG: u64 = 4 * 1024 * 1024;
    /// Most kinds of events that are counted.
    pub const MAX_KINDS: usize = 512;
    /// Newest files of the audit log whose events are counted: some 256 MB, a second or two.
    pub const MAX_AUDIT_FILES: usize = 16;
}

/// The audit log.
pub mod audit {
    /// Length at which a file is closed and the next one begun; a file is read whole when the log is opened.
    pub const MAX_FILE: u64 = 16 * 1024 * 1024;
    /// Longest line; a longer one in a file that was tampered with must not fill memory.
    pub const MAX_LINE: usize = 64 * 1024;
    /// Longest text in an event, in characters; what a peer sends (AE title, reason) must not fill the log.
    pub const MAX_TEXT: usize = 1024;
    /// Longest name of what an event of the updater is about.
    pub const MAX_NAME: usize = 64;
    /// Most details of an event of the updater, code and reason of a refusal among them: with texts of that length it is still a line.
    pub const MAX_DETAILS: usize = 8;
    /// Events that wait for the disk; past that the stages wait, since nothing may go on unaudited.
    pub const MAX_WAITING: usize = 1024;
}
