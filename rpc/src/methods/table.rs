//! The table of methods. The server finds methods and reads their arguments by it, `GET /` lists it, and `docs/rpc.md`
//! and `docs/openapi.json` are written from it.

use super::{
    blocks,
    describe::{
        Case, Field,
        Form::{Bytes, Hash, Hex, Json, Number, Text, Texts},
        Param,
        Shape::{self, Boolean, Decimal, Integer, List, ListOrNull, Object, ObjectOrNull, Text as Words},
    },
    evidence,
    method::{
        Method,
        Run::{Now, Store, Unsafe, Wait, WebSocket},
    },
    node, search, state, txs, validators,
};
use crate::error::Kind;

const LATEST: &str = "the latest height";

/// A height of a block.
const HEIGHT: Param =
    Param::optional("height", Number, LATEST, "Height, from the earliest kept height to the latest.").like("5");

/// A height whose validators and parameters are known, at most one above the tip.
const HEIGHT_OR_NEXT: Param = Param::optional(
    "height",
    Number,
    "the next height",
    "Height, from the earliest kept height to one above the latest block.",
)
.like("5");

const TX_HASH: Param = Param::required("hash", Hash, "Hash of the transaction: SHA-256 of its bytes.").like("0x$HASH");
const BLOCK_HASH: Param = Param::required("hash", Hash, "Hash of the block's header.").like("0x$HASH");
const TX: Param =
    Param::required("tx", Bytes, "Bytes of the signed transaction ([transactions.md](transactions.md)).").like("0x$TX");
const PAGE: Param =
    Param::number("page", 1, (1, i64::MAX), "Page, from 1. A page above the last one is an error.").like("1");
const PER_PAGE: Param = Param::number(
    "per_page",
    validators::PER_PAGE,
    (1, validators::PER_PAGE_MAX),
    "Entries on a page. A greater number counts as the greatest; 0 and less as the default.",
)
.like("10");
const SUBSCRIPTION: Param = Param::required(
    "query",
    Text,
    "Query of the events, such as `tm.event = 'NewBlock'`: at most 512 bytes and 16 conditions, joined by `AND`.",
);

const UNKNOWN_HEIGHT: Case =
    Case::refused("The height is above the latest one, below the earliest kept one, or not positive.");
const NO_BLOCK: Case = Case::refused("No block was decided yet.");
const NOT_READ: Case = Case::refused("This node cannot read it from its disk: ask another node.");
const CATCHING_UP: Case = Case::refused("The node is catching up: send the transaction to another node.");
const UNKNOWN_PAGE: Case = Case::refused("There is no such page.");
const TOO_MUCH: Case =
    Case::refused("The search would read more than 100,000 rows, or a page needs too many bytes of blocks.");
const BAD_QUERY: Case = Case::argument("The query cannot be parsed, or has a tag that this search does not have.");
const SEARCHES_RUN: Case =
    Case::busy("Other searches, or queries of lists and ranges, are running, and few run at one time.");
const NO_WEBSOCKET: Case = Case { kind: Kind::MethodNotFound, when: "The call came by POST or GET, or in a batch." };
const NOT_OFFERED: Case = Case { kind: Kind::MethodNotFound, when: "The operator has not set `rpc.unsafe`." };

const fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field::new(name, shape, about)
}

const BLOCK_ID: Field = field("block_id", Object, "Hash of the header; number and hash of the block's parts.");
const HASH: Field = field("hash", Words, "Hash of the transaction, 64 hexadecimal digits.");
const AT: Field = field("height", Decimal, "Height of the block.");
const TAKEN: &[Field] = &[
    field("code", Integer, "0 if the transaction was accepted, else the [code](transactions.md#codes) of the refusal."),
    field("data", Words, "Always empty."),
    field("log", Words, "Reason of a refusal, with what to do."),
    field("codespace", Words, "`cairn` for a refusal, else empty."),
    HASH,
];
const COMMITTED_TX: &[Field] = &[
    HASH,
    AT,
    field("index", Integer, "Place of the transaction in its block, from 0."),
    field("tx_result", Object, "Result: code, log, gas and events."),
    field("tx", Words, "Bytes of the transaction, base64."),
    Field::sometimes("proof", Object, "Proof that the transaction is in its block, if `prove` is true."),
];
const TX_STATUS: &[Field] = &[
    field("status", Words, "`committed`, `pending`, `expired` or `unknown` (to this node)."),
    HASH,
    field("height", Decimal, "Height of the block; 0 if the transaction is not committed."),
    Field::sometimes("index", Integer, "Place in its block, if committed."),
    Field::sometimes("tx_result", Object, "Result, if committed."),
    Field::sometimes("tx", Words, "Bytes of the transaction in base64, if committed."),
];
const WAITING: &[Field] = &[
    field("n_txs", Decimal, "Number of transactions in this answer."),
    field("total", Decimal, "Number of transactions that wait."),
    field("total_bytes", Decimal, "Bytes of the transactions that wait."),
    field("txs", ListOrNull, "The transactions, each in base64; null in `num_unconfirmed_txs`."),
];
const BLOCK: &[Field] =
    &[BLOCK_ID, field("block", ObjectOrNull, "The block: header, transactions, evidence and last commit.")];
const HEADER: &[Field] = &[field("header", ObjectOrNull, "The header.")];
const LOG: &[Field] = &[field("log", Words, "What the node does now.")];

/// All methods of the RPC, sorted by name.
pub const METHODS: &[Method] = &[
    Method::new("abci_info", "Returns the name, version and last height of the application.", &[], Now(node::abci_info))
        .returns(&[field("response", Object, "`data`, `version`, `app_version`, `last_block_height`, `last_block_app_hash`.")]),
    Method::new(
        "abci_query",
        "Sends a query to the application; with `prove`, the answer has a proof under the app hash of the next header.",
        &[
            Param::optional(
                "path",
                Text,
                "the empty path",
                "Path of the query: `/account`, `/params`, `/supply`, `/store`, or one of \
                 [namespaces](namespaces.md#queries), such as `/kv/get/NAME`, of [proposals](proposals.md#queries), or of [stake](staking.md#queries).",
            )
            .like("\"/account\""),
            Param::optional(
                "data",
                Hex,
                "no bytes",
                "For `/account` an address, for `/store` a raw key of at most 1024 bytes, for `/kv/get`, `/kv/history` and `/kv/range` a key.",
            )
            .like("0x$ADDRESS"),
            Param::optional("height", Number, LATEST, "Height of the state; 0 is the latest."),
            Param::flag(
                "prove",
                "Return a proof too; only for `/store`, `/kv/get/NAME`, `/kv/root/NAME`, `/staking/validator/OPERATOR` and `/staking/pool`, whose `value` is then the proven one itself; null if its absence is proven.",
            ),
        ],
        Store(state::abci_query),
    )
    .returns(&[field(
        "response",
        Object,
        "`code` (0, or the [code](transactions.md#codes) of a refusal), `log`, `value` in base64, `height` and `proofOps`: the [chain of proofs](proofs.md#for-other-software). Content of a namespace that a [revert](reverts.md#what-an-execution-does) took back is marked with `reverted_by` in `value`.",
    )])
    .fails(&[
        UNKNOWN_HEIGHT,
        Case::busy(
            "`E_PROOF_UNFINISHED`: a proof below the latest height needs more time than one call has. The next call for this height continues.",
        ),
        NOT_READ,
        Case::busy("Other calls with proofs are running, and few run at one time."),
        SEARCHES_RUN,
    ]),
    Method::new(
        "account",
        "Returns an account, with the nonce for its next transaction.",
        &[Param::required("address", Text, "Address of the account, 40 hexadecimal digits.").like("$ADDRESS")],
        Store(state::account),
    )
    .returns(&[
        field("address", Words, "Address of the account."),
        field("balance", Decimal, "Balance."),
        field("nonce", Decimal, "Next nonce, after the transactions that wait in this node's mempool."),
        field("committed_nonce", Decimal, "Next nonce, after the committed transactions."),
        field("height", Decimal, "Height of the state."),
    ])
    .fails(&[NOT_READ]),
    Method::new("block", "Returns a block by its height.", &[HEIGHT], Store(blocks::block)).returns(BLOCK).fails(&[
        UNKNOWN_HEIGHT,
        NO_BLOCK,
        NOT_READ,
    ]),
    Method::new(
        "block_by_hash",
        "Returns a block by its hash; null in `block` if there is none.",
        &[BLOCK_HASH],
        Store(blocks::block_by_hash),
    )
    .returns(BLOCK)
    .fails(&[NOT_READ]),
    Method::new("block_results", "Returns the results of the execution of a block.", &[HEIGHT], Store(blocks::block_results))
        .returns(&[
            AT,
            field("txs_results", List, "Result of each transaction: code, log, gas and events."),
            field("finalize_block_events", List, "Events of the block itself."),
            field("validator_updates", List, "Changes of the validator set."),
            field("consensus_param_updates", ObjectOrNull, "New consensus parameters, if they changed."),
            field("app_hash", Words, "Root of the state after the block, base64."),
        ])
        .fails(&[UNKNOWN_HEIGHT, NO_BLOCK, NOT_READ]),
    Method::new(
        "block_search",
        "Returns the blocks that match a query, the latest first unless `order_by` is `asc`.",
        &[
            Param::required("query", Text, "Query by `block.height` and by events of blocks.").like("\"block.height>3\""),
            PAGE,
            PER_PAGE,
            Param::optional("order_by", Text, "`desc`", "`asc` or `desc`."),
        ],
        Store(search::block_search),
    )
    .returns(&[
        field("blocks", List, "Blocks of the page, as `block` returns them."),
        field("total_count", Decimal, "Number of matches."),
    ])
    .fails(&[BAD_QUERY, TOO_MUCH, UNKNOWN_PAGE, NOT_READ, SEARCHES_RUN]),
    Method::new(
        "blockchain",
        "Returns the headers of a range of heights, the latest first: at most 20.",
        &[
            Param::optional("minHeight", Number, "the earliest kept height", "Lowest height; 0 counts as absent.").like("1"),
            Param::optional("maxHeight", Number, LATEST, "Greatest height; 0 counts as absent.").like("5"),
        ],
        Store(blocks::blockchain),
    )
    .returns(&[
        field("last_height", Decimal, "Latest height."),
        field("block_metas", List, "For each block its id, size in bytes, header, and number of transactions."),
    ])
    .fails(&[Case::refused("The range is empty, negative or pruned."), NOT_READ]),
    Method::new(
        "broadcast_evidence",
        "Takes evidence that a validator signed two votes that contradict each other, or that validators signed a block for light clients that contradicts the chain. It is reported to operators and subscribers, sent to peers, and put into a block.",
        &[Param::required("evidence", Json, "`tendermint/DuplicateVoteEvidence` or `tendermint/LightClientAttackEvidence` in CometBFT's JSON.").like("$EVIDENCE")],
        Store(evidence::broadcast_evidence),
    )
    .returns(&[field("hash", Words, "Hash of the evidence, base64.")])
    .fails(&[Case::refused("The evidence is not valid, has expired, is repeated, or is of a height that is not decided yet; or the node is busy."), NOT_READ]),
    Method::new(
        "broadcast_tx_async",
        "Submits a transaction and returns at once, without the result of its check.",
        &[TX],
        Wait(txs::broadcast_tx_async),
    )
    .returns(TAKEN)
    .fails(&[CATCHING_UP, Case::busy("Too many transactions are being checked.")]),
    Method::new(
        "broadcast_tx_commit",
        "Submits a transaction and waits until it is committed, at most `rpc.timeout_broadcast_tx_commit`.",
        &[TX],
        Wait(txs::broadcast_tx_commit),
    )
    .returns(&[
        field("check_tx", Object, "Result of the check: `code` is 0 if the transaction was accepted."),
        field("tx_result", Object, "Result of the execution: code, log, gas and events."),
        HASH,
        field("height", Decimal, "Height of its block; 0 if it was not accepted."),
    ])
    .fails(&[
        CATCHING_UP,
        Case::refused("The transaction was accepted but not committed in time: ask `tx_status`."),
        Case::busy("Too many calls wait for a commit (`rpc.max_subscription_clients`)."),
    ]),
    Method::new(
        "broadcast_tx_sync",
        "Submits a transaction and returns the result of its check.",
        &[TX],
        Wait(txs::broadcast_tx_sync),
    )
    .returns(TAKEN)
    .fails(&[CATCHING_UP]),
    Method::new("check_tx", "Returns the result of a transaction's check, and does not submit it.", &[TX], Wait(txs::check_tx))
        .returns(&[
            field("code", Integer, "0 if it would be accepted, else the [code](transactions.md#codes) of the refusal."),
            field("data", ObjectOrNull, "Always null."),
            field("log", Words, "Reason of a refusal, with what to do."),
            field("info", Words, "Always empty."),
            field("gas_wanted", Decimal, "Gas that the transaction takes from its block's."),
            field("gas_used", Decimal, "Always 0: the check does not execute it."),
            field("events", List, "Always empty."),
            field("codespace", Words, "`cairn` for a refusal, else empty."),
        ])
        .fails(&[CATCHING_UP]),
    Method::new("commit", "Returns a header with the commit that decided it.", &[HEIGHT], Store(blocks::commit))
        .returns(&[
            field("signed_header", Object, "The header and the commit: precommits of more than 2/3 of the power."),
            field("canonical", Boolean, "True if the commit is the one in the next block; false at the latest height."),
        ])
        .fails(&[UNKNOWN_HEIGHT, NO_BLOCK, NOT_READ]),
    Method::new(
        "consensus_params",
        "Returns the consensus parameters of a height.",
        &[HEIGHT_OR_NEXT],
        Store(validators::consensus_params),
    )
    .returns(&[
        field("block_height", Decimal, "The height."),
        field("consensus_params", Object, "The parameters, as in the genesis document."),
    ])
    .fails(&[UNKNOWN_HEIGHT, NOT_READ]),
    Method::new("consensus_state", "Returns the state of consensus in brief.", &[], Now(node::consensus_state))
        .returns(&[field("round_state", Object, "Height, round, step, proposer, and the votes of each round.")]),
    Method::new(
        "dial_peers",
        "Dials peers once.",
        &[Param::required("peers", Texts, "Addresses, `id@host:port`.").like("\"$ID@192.0.2.7:26656\"")],
        Unsafe(node::dial_peers),
    )
    .returns(LOG)
    .fails(&[NOT_OFFERED, Case::argument("No address is given, or one is malformed.")]),
    Method::new(
        "dial_seeds",
        "Dials seeds once.",
        &[Param::required("seeds", Texts, "Addresses, `id@host:port`.").like("\"$ID@192.0.2.7:26656\"")],
        Unsafe(node::dial_seeds),
    )
    .returns(LOG)
    .fails(&[NOT_OFFERED, Case::argument("No address is given, or one is malformed.")]),
    Method::new(
        "dump_consensus_state",
        "Returns the state of consensus in full, with the heights of the peers.",
        &[],
        Now(node::dump_consensus_state),
    )
    .returns(&[
        field("round_state", Object, "Height, round, step, times, validators, votes and the height of the hard state."),
        field("peers", List, "Height of each peer."),
    ]),
    Method::new("genesis", "Returns the genesis document.", &[], Store(node::genesis))
        .returns(&[field("genesis", Object, "The document.")])
        .fails(&[
            Case::refused("The document has more than 16 MiB: use `genesis_chunked`."),
            Case::busy("Other calls for the document are running, and few run at one time."),
        ]),
    Method::new(
        "genesis_chunked",
        "Returns one piece of the genesis document's text, at most 16 MiB.",
        &[Param::optional("chunk", Number, "0", "Index of the piece, from 0.").like("0")],
        Store(node::genesis_chunked),
    )
    .returns(&[
        field("chunk", Decimal, "Index of the piece."),
        field("total", Decimal, "Number of pieces."),
        field("data", Words, "The piece, base64."),
    ])
    .fails(&[Case::refused("There is no such piece, or the file cannot be read."), Case::busy("Other calls for the document are running, and few run at one time.")]),
    Method::new("header", "Returns a header by its height.", &[HEIGHT], Store(blocks::header)).returns(HEADER).fails(&[
        UNKNOWN_HEIGHT,
        NO_BLOCK,
        NOT_READ,
    ]),
    Method::new(
        "header_by_hash",
        "Returns a header by its hash; null if there is none.",
        &[BLOCK_HASH],
        Store(blocks::header_by_hash),
    )
    .returns(HEADER)
    .fails(&[NOT_READ]),
    Method::new("health", "Returns an empty object if the process works; `ready` reports if the node is useful.", &[], Now(node::health)),
    Method::new("net_info", "Returns the connected peers.", &[], Now(node::net_info)).returns(&[
        field("listening", Boolean, "Always true."),
        field("listeners", List, "Addresses on which the node listens for peers."),
        field("n_peers", Decimal, "Number of connected peers."),
        field("peers", List, "For each peer its node info, direction, traffic and address."),
    ]),
    Method::new(
        "num_unconfirmed_txs",
        "Returns the number and the bytes of the transactions that wait.",
        &[],
        Now(txs::num_unconfirmed_txs),
    )
    .returns(WAITING),
    Method::new(
        "ready",
        "Returns whether the node is useful. `GET /ready` has the status 200 if it is, else 503, as probes expect.",
        &[],
        Now(node::ready),
    )
    .returns(&[
        field("ready", Boolean, "True if the node is useful."),
        field("reasons", List, "Reasons why it is not."),
    ]),
    Method::new("status", "Returns the status of the node.", &[], Now(node::status)).returns(&[
        field("node_info", Object, "Id, chain (`network`), versions, moniker and addresses of the node."),
        field("sync_info", Object, "Latest and earliest block with hashes and times; `catching_up`."),
        field("validator_info", Object, "Address, public key and power of this node's validator."),
    ]),
    Method::new(
        "subscribe",
        "Subscribes to events. The answer is an empty object; each event comes as a further answer with the id of this call.",
        &[SUBSCRIPTION],
        WebSocket,
    )
    .fails(&[
        NO_WEBSOCKET,
        Case::argument("The query cannot be parsed, or no event can match it."),
        Case::refused("The connection has this subscription already, or too many (`rpc.max_subscriptions_per_client`)."),
        Case::busy("Too many clients have subscriptions (`rpc.max_subscription_clients`)."),
    ]),
    Method::new(
        "tx",
        "Returns a committed transaction with its result.",
        &[TX_HASH, Param::flag("prove", "Return a proof that the transaction is in its block.").like("true")],
        Store(txs::tx),
    )
    .returns(COMMITTED_TX)
    .fails(&[
        Case::refused("No kept block has the transaction."),
        NOT_READ,
        Case::busy("Other calls with proofs are running, and few run at one time."),
    ]),
    Method::new(
        "tx_search",
        "Returns the committed transactions that match a query, the earliest first unless `order_by` is `desc`.",
        &[
            Param::required(
                "query",
                Text,
                "Query by `tx.height`, `tx.hash` and attributes of events, such as `transfer.recipient = '…'`.",
            )
            .like("\"tx.height>3\""),
            Param::flag("prove", "Return a proof for each transaction."),
            PAGE,
            PER_PAGE,
            Param::optional("order_by", Text, "`asc`", "`asc` or `desc`."),
        ],
        Store(search::tx_search),
    )
    .returns(&[
        field("txs", List, "Transactions of the page, as `tx` returns them."),
        field("total_count", Decimal, "Number of matches."),
    ])
    .fails(&[BAD_QUERY, TOO_MUCH, UNKNOWN_PAGE, NOT_READ, SEARCHES_RUN]),
    Method::new("tx_status", "Returns what this node knows of a transaction.", &[TX_HASH], Store(txs::tx_status))
        .returns(TX_STATUS)
        .fails(&[NOT_READ]),
    Method::new("unconfirmed_tx", "Returns one transaction that waits.", &[TX_HASH], Now(txs::unconfirmed_tx))
        .returns(&[field("tx", Words, "Bytes of the transaction, base64.")])
        .fails(&[Case::refused("The mempool does not have it.")]),
    Method::new(
        "unconfirmed_txs",
        "Returns the first transactions that wait.",
        &[Param::number(
            "limit",
            txs::UNCONFIRMED,
            (1, txs::UNCONFIRMED_MAX),
            "Number of transactions. A greater number counts as the greatest; 0 and less as the default.",
        )
        .like("10")],
        Now(txs::unconfirmed_txs),
    )
    .returns(WAITING),
    Method::new("unsafe_flush_mempool", "Drops all transactions that wait.", &[], Unsafe(txs::flush)).fails(&[NOT_OFFERED]),
    Method::new("unsubscribe", "Ends a subscription.", &[SUBSCRIPTION], WebSocket).fails(&[
        NO_WEBSOCKET,
        Case::refused("The connection has no subscription with exactly this text."),
    ]),
    Method::new("unsubscribe_all", "Ends all subscriptions of the connection.", &[], WebSocket).fails(&[NO_WEBSOCKET]),
    Method::new(
        "validators",
        "Returns one page of the validators of a height.",
        &[HEIGHT_OR_NEXT, PAGE, PER_PAGE],
        Store(validators::validators),
    )
    .returns(&[
        field("block_height", Decimal, "The height."),
        field("count", Decimal, "Number of validators on the page."),
        field("total", Decimal, "Number of validators of the height."),
        field("validators", List, "Address, public key, power and proposer priority of each."),
    ])
    .fails(&[UNKNOWN_HEIGHT, UNKNOWN_PAGE, NOT_READ]),
];
