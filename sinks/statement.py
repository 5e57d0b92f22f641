"""What a SQL statement that came over the network may do to the embedded store.

The engine runs inside our process, with the rights of our process: unlike a server, it reads any
file of the user through ``file()``, opens connections through ``url()`` or ``s3()``, sees Python
objects through ``python()``, and writes files with ``INTO OUTFILE``. Its own read-only mode stops
some of these and not others. So every statement is read here, before the engine sees it.

The reader is narrow on purpose. Where ClickHouse has several spellings for a comment or a string
(``#``, ``//``, nested comments, heredocs, curly quotes), only the plain ones are accepted: a text
that two lexers could cut differently is refused, because what looks like a string here could be
a call there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

READING = frozenset({"select", "with", "show", "describe", "desc", "exists", "explain"})
WRITING = frozenset(
    {"insert", "create", "alter", "drop", "truncate", "optimize", "rename", "delete", "update"}
    | {"check", "use", "set"}
)
_CREATABLE = frozenset({"table", "view", "database"})
_CREATE_WORDS = frozenset({"create", "or", "replace", "temporary", "materialized"})
_ENGINES = frozenset(
    {"memory", "null", "log", "tinylog", "stripelog", "join", "set", "view", "atomic"}
)

_HARMLESS_SOURCES = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "view", "values", "sqlstandardvalues", "null"}
    | {"generateseries", "generate_series", "generaterandom", "primes", "merge", "input", "format"}
)
# The engine adds to this list what it knows itself (see `outward`). These are always on it.
_OUTWARD = frozenset(
    {"arrowstream", "azureblobstorage", "bigquery", "cluster", "clusterallreplicas", "cosn"}
    | {"currentrequesturl", "deltalake", "dictionary", "disk", "eval", "executable", "file"}
    | {"filecluster", "filesystem", "fuzzquery", "gcs", "getclienthttpheader", "hdfs", "hudi"}
    | {"iceberg", "jdbc", "loop", "mongodb", "mysql", "odbc", "oss", "paimon", "postgresql"}
    | {"python", "redis", "remote", "remotesecure", "s3", "s3cluster", "sqlite", "url"}
    | {"urlcluster", "viewexplain", "ytsaurus"}
)
# Names that reach out even where no bracket follows: `arrayMap(file, [...])` calls `file`.
# `dialect` would change how the engine reads the text that was checked here.
_NEVER = frozenset({"file", "python", "eval", "outfile", "infile", "dialect"})

_TOKEN = re.compile(
    rb"""
    (?P<space>[\x20\t\r\n\f\v]+)
  | (?P<comment>--[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`[^`\\]*`|"[^"\\]*")
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9][A-Za-z0-9_]*)
  | (?P<refused>//)
  | (?P<sign>[(){}\[\],.;:=<>!+\-*/%?|&^~@])
    """,
    re.VERBOSE | re.DOTALL,
)


class Refused(Exception):
    """A statement that is not run. ``code`` is the ClickHouse error code that fits."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


SYNTAX_ERROR = 62
READONLY = 164
ACCESS_DENIED = 497


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, cut where the engine wants it cut.

    ``sql``: the text. ``keyword``: its first word. ``format``: the output format named in it, or
    "" if none is. For ``INSERT ... FORMAT x <data>`` and ``INSERT ... VALUES <data>``, ``sql``
    ends before FORMAT or VALUES, ``format`` is the input format, ``data`` the bytes, ``settings``
    the SETTINGS clause, which is then not in ``sql``; otherwise ``data`` is None.
    """

    sql: bytes
    keyword: str
    format: str
    data: bytes | None
    settings: bytes = b""

    @property
    def reads(self) -> bool:
        return self.keyword in READING


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def outward(table_functions: frozenset[str], functions: frozenset[str]) -> frozenset[str]:
    """Names of the engine's functions that reach out of the store, in lower case."""
    sources = {name.lower() for name in table_functions} - _HARMLESS_SOURCES
    models = {name.lower() for name in functions if name.startswith(("ai", "AI"))}
    return frozenset(sources | models) | _OUTWARD


def read_statement(
    body: bytes,
    *,
    read_only: bool,
    outward_names: frozenset[str] = _OUTWARD,
    parameters: tuple[str, ...] = (),
) -> Statement:
    """Cut and check one statement.

    ``read_only``: only statements that read. ``parameters``: the values of ``param_*``, which may
    name an identifier. Raises Refused for anything that is not plainly allowed.
    """
    tokens: list[_Token] = []
    statement: Statement | None = None
    for token in _tokens(body):
        tokens.append(token)
        statement = _insert_with_data(body, tokens)
        if statement is not None:
            break
    if not tokens:
        raise Refused(SYNTAX_ERROR, "Empty query")
    keyword = next((t.text.lower() for t in tokens if t.kind == "word"), "")
    _check_keyword(keyword, tokens, read_only=read_only)
    _check_names(tokens, outward_names, parameters)
    if statement is not None:
        if statement.format.lower() == "values":
            # VALUES may hold expressions, and those may call functions.
            _check_names(list(_tokens(statement.data or b"")), outward_names, parameters)
        return statement
    return Statement(body, keyword, _output_format(tokens), None)


def _tokens(body: bytes) -> Iterator[_Token]:
    at = 0
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None or match.lastgroup == "refused":
            raise Refused(
                SYNTAX_ERROR,
                f"Syntax error: byte {at} starts something the embedded store does not read"
                " (heredocs, # and // comments, curly quotes and escapes in names are refused)",
            )
        kind, raw = match.lastgroup or "", match.group()
        if kind == "comment" and b"/*" in raw[2:]:
            raise Refused(SYNTAX_ERROR, "Syntax error: nested comments are refused")
        if kind == "string" and b"\\" in raw and at and body[at - 1 : at].isalnum():
            raise Refused(SYNTAX_ERROR, "Syntax error: escapes in a prefixed string are refused")
        if kind not in ("space", "comment"):
            text = raw[1:-1] if kind == "quoted" else raw
            # A string is opaque: its text must not be mistaken for a name or a sign.
            shown = "" if kind == "string" else text.decode("utf-8", "replace")
            yield _Token(kind, shown, at, match.end())
        at = match.end()


def _insert_with_data(body: bytes, tokens: list[_Token]) -> Statement | None:
    """The INSERT whose data begins after the newest token, or None."""
    last = tokens[-1]
    if last.kind != "word" or not _is_word(tokens[0], "insert"):
        return None
    if any(_is_word(t, "select", "with") for t in tokens):
        return None  # the rows come from a query, and FORMAT may be an alias in it
    if _is_word(last, "values"):
        if len(tokens) < 3:
            return None  # a table called "values"
        sql, settings = _settings_apart(body, tokens[:-1], last.start)
        return Statement(sql, "insert", "Values", body[last.end :], settings)
    if len(tokens) > 3 and _is_word(tokens[-2], "format"):
        data = body[last.end :]
        # Exactly one separator stands between the format's name and (maybe binary) data.
        if data.startswith(b"\r\n"):
            data = data[2:]
        elif data[:1] in (b"\n", b" ", b"\t"):
            data = data[1:]
        sql, settings = _settings_apart(body, tokens[:-2], tokens[-2].start)
        return Statement(sql, "insert", last.text, data, settings)
    return None


def _settings_apart(body: bytes, tokens: list[_Token], end: int) -> tuple[bytes, bytes]:
    """An INSERT before its FORMAT, without and with only its SETTINGS clause."""
    for at in range(3, len(tokens) - 2):
        if _is_word(tokens[at], "settings") and tokens[at + 2].text == "=":
            return body[: tokens[at].start], body[tokens[at].start : end]
    return body[:end], b""


def _is_word(token: _Token, *words: str) -> bool:
    return token.kind == "word" and token.text.lower() in words


def _check_keyword(keyword: str, tokens: list[_Token], *, read_only: bool) -> None:
    if keyword not in READING and keyword not in WRITING:
        raise Refused(ACCESS_DENIED, f"{keyword.upper() or 'This'} is not run over this port")
    words = [t.text.lower() for t in tokens if t.kind == "word"]
    if read_only:
        writes = any(a == "insert" and b == "into" for a, b in pairwise(words))
        if keyword not in READING or writes:
            raise Refused(READONLY, "Cannot execute query in readonly mode")
    if keyword == "create":
        made = next((word for word in words if word not in _CREATE_WORDS), "")
        if made not in _CREATABLE:
            raise Refused(ACCESS_DENIED, "Only tables, views and databases are created here")
        _check_engine(tokens)
    for token, following in pairwise(tokens):
        if _is_word(token, "parallel") and _is_word(following, "with"):
            raise Refused(SYNTAX_ERROR, "Multi-statements are not allowed")
        if token.kind == "sign" and token.text == ";":
            raise Refused(SYNTAX_ERROR, "Multi-statements are not allowed")


def _check_names(
    tokens: list[_Token], outward_names: frozenset[str], parameters: tuple[str, ...]
) -> None:
    for at, token in enumerate(tokens):
        if token.kind not in ("word", "quoted"):
            continue
        name = token.text.lower()
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        called = following is not None and following.kind == "sign" and following.text == "("
        if name in _NEVER or (called and name in outward_names):
            raise Refused(ACCESS_DENIED, f"{token.text} reaches out of the store and is refused")
        if name == "identifier" and any(p.strip('`" ').lower() in _NEVER for p in parameters):
            raise Refused(ACCESS_DENIED, "This identifier reaches out of the store")


def _check_engine(tokens: list[_Token]) -> None:
    """Only tables that keep their rows in the store itself may be created."""
    for at, token in enumerate(tokens):
        if not _is_word(token, "engine"):
            continue
        # The equals sign is optional in ClickHouse.
        named = next((t for t in tokens[at + 1 : at + 3] if t.text != "="), None)
        engine = named.text.lower() if named is not None else ""
        if not engine.endswith("mergetree") and engine not in _ENGINES:
            raise Refused(ACCESS_DENIED, "Only engines that keep rows in the store are allowed")


def _output_format(tokens: list[_Token]) -> str:
    for at in range(len(tokens) - 2, -1, -1):
        if _is_word(tokens[at], "format") and tokens[at + 1].kind == "word":
            rest = tokens[at + 2 :]
            if not rest or rest[0].text == ";" or _is_word(rest[0], "settings"):
                return tokens[at + 1].text
    return ""
