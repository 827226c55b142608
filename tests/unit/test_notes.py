"""Notes, checkpoints and proofs are as their specifications have them, and keys stay secret."""

from __future__ import annotations

import base64
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from policy_router.errors import PolicyRouterError
from policy_router.log.sign.keys import (
    DEFAULT_NAME,
    SignatureError,
    Signer,
    Verifier,
    new_signer,
    read_signer,
    read_verifier,
)
from policy_router.log.sign.merkle import (
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from policy_router.log.sign.notes import Checkpoint, InclusionProof, opened, sign, text_of
from tests.support.examples import examples
from tests.support.log_auditing import nodes_of, root
from tests.support.log_disk import ran
from tests.support.rows import each

# The example of golang.org/x/mod/sumdb/note.
PETER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
BY_PETER = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)
NOTE = f"{TEXT}\n{BY_PETER}"
# The same: a second signer, whose private key is all zeros.
ENOCH_PUBLIC = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
BY_ENOCH = (
    "\u2014 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWL"
    "ox33WWd1RvMc+QQ=\n"
)
SIGNER = read_signer(PETER.encode())
VERIFIER = read_verifier(PETER_PUBLIC.encode())
ENOCH = Signer("EnochRoot", bytes(32))

# The example of signed-note, section Verifier keys.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
BY_FOO = (
    "This is an example message.\n"
    "\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mF"
    "XmRKuwHjG1Yu72IneyaQM=\n"
)
# The example at the head of signed-note: there is an empty line in its text.
POEM = (
    "Ognuno sta solo sul cuor della terra\n"
    "trafitto da un raggio di sole:\n"
    "\n"
    "ed \u00e8 subito sera.\n"
    "\n"
    "\u2014 quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMo"
    "uFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
# The example of tlog-checkpoint, with the second signature of the example of tlog-cosignature.
BEHIND_THE_SOFA = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zh"
    "cyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
    "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# RFC 8410, section 10.3: a private key, and its public key of section 10.1.
RFC_8410 = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"
RFC_8410_PUBLIC = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
# The same: the private key with attributes and its public key, a form of RFC 5958.
RFC_8410_LONG = (
    "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCoB8wHQYKKoZIhvcNAQkJFDEPDA1D"
    "dXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
)
# Of ssh-keygen, which made it for this test; the passphrase is `secret`.
ENCRYPTED_OPENSSH = """\
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCojNyCoD
8lDmy3YzCT0s0rAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIGsF2kSmAuiv/wqe
jK33OIjILoPXNd3P5JCO0Vw6WsTPAAAAkP4qiCvJ6tnJNOLGv8FjZFztlDtmPv6TksV+yW
h4OmoC/td307I5pMhUaQMU2xabM/4g3StUVQ/BTrqHw9qsN7o4UoJSmxlJKdwEIDEcpDy+
58PMlTP/97/6/rSHrJyi0ZTwiDmOiu081Hh08hpeo3O/fbocQJDn6hTC+nLiEsZwzj3v2u
dYTsuFXdI5mirY9g==
"""


def pem(label: str, body: str) -> bytes:
    return f"-----BEGIN {label}-----\n{body.strip()}\n-----END {label}-----\n".encode()


def written(
    key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | ec.EllipticCurvePrivateKey,
    form: PrivateFormat,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def published(
    key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | ec.EllipticCurvePrivateKey,
    encoding: Encoding = Encoding.PEM,
) -> bytes:
    openssh = encoding is Encoding.OpenSSH
    form = PublicFormat.OpenSSH if openssh else PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)


KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CURVE = ec.derive_private_key(7, ec.SECP256R1())
GOLDILOCKS = ed448.Ed448PrivateKey.from_private_bytes(bytes(57))


@each(
    ("private", "public"),
    [
        # RFC 8032, section 7.1: tests 1, 2, 3 and 1024, and that of SHA(abc).
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        ),
        (
            "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
            "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        ),
    ],
    ids=range(5),
)
def test_a_public_key_is_that_of_rfc_8032(private: str, public: str) -> None:
    signer = Signer("a", bytes.fromhex(private))
    assert signer.verifier() == Verifier("a", bytes.fromhex(public))


def test_the_example_of_sumdb_note_reads_writes_and_signs() -> None:
    assert (SIGNER.name, SIGNER.encoded()) == ("PeterNeumann", PETER)
    assert (VERIFIER.encoded(), VERIFIER.key_id.hex()) == (PETER_PUBLIC, "c74f20a3")
    assert SIGNER.verifier() == VERIFIER
    assert sign(TEXT, SIGNER) == NOTE
    assert opened(NOTE, VERIFIER) == TEXT
    assert sign(TEXT, ENOCH) == f"{TEXT}\n{BY_ENOCH}"
    assert ENOCH.verifier().encoded() == ENOCH_PUBLIC


def test_the_example_of_signed_note_opens() -> None:
    assert opened(BY_FOO, read_verifier(FOO.encode())) == "This is an example message.\n"


def test_a_text_is_parted_from_the_signatures_by_the_last_empty_line() -> None:
    text = text_of(POEM)
    assert (text.count("\n"), text[-5:]) == (4, "era.\n")
    for odd in ("\n", "\n\n", "a\n\n", "\n\na\n", f"a\n\n{BY_PETER}", "\x7f\x85\u2028\n"):
        assert opened(sign(odd, SIGNER), VERIFIER) == odd


@each("signatures", [BY_PETER + BY_ENOCH, BY_ENOCH + BY_PETER, BY_PETER * 100])
def test_signatures_of_others_are_not_looked_at(signatures: str) -> None:
    assert opened(f"{TEXT}\n{signatures}", VERIFIER) == TEXT


def signed_by(name: str, content: bytes) -> str:
    return f"\u2014 {name} {base64.b64encode(content).decode()}\n"


def test_a_key_is_told_by_its_name_and_its_id() -> None:
    by_none = "^the note has no signature by `PeterNeumann.c74f20a3`$"
    right = base64.b64decode(BY_PETER.split(" ")[2])
    others = (
        signed_by("PeterNeumann", bytes(4) + right[4:])
        + signed_by("CarmenSandiego", right)
        # Five bytes are the least, and another kind of key may have many more.
        + signed_by("PeterNeumann", bytes(5))
        + signed_by("witness.example.com/w1", bytes(2424))
    )
    assert opened(f"{TEXT}\n{others}{BY_PETER}", VERIFIER) == TEXT
    for signatures in (others, BY_ENOCH):
        with pytest.raises(SignatureError, match=by_none):
            opened(f"{TEXT}\n{signatures}", VERIFIER)


@each("length", [1, 63, 64, 65])
def test_a_wrong_signature_by_the_key_spoils_the_note(length: int) -> None:
    wrong = signed_by("PeterNeumann", VERIFIER.key_id + bytes(length))
    expected = "^the signature by `PeterNeumann.c74f20a3` is not one of this text$"
    for signatures in (wrong, wrong + BY_PETER, BY_PETER + wrong):
        with pytest.raises(SignatureError, match=expected):
            opened(f"{TEXT}\n{signatures}", VERIFIER)


@each(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        BY_PETER,
        f"\n{BY_PETER}",
        f"{TEXT}{BY_PETER}",
        # Those of the tests of golang.org/x/mod/sumdb/note.
        NOTE[:-1],
        f"\x01{NOTE}",
        f"\udcff{NOTE}",
        f"{TEXT}\n\u2014 Bad Name {BY_PETER.split(' ')[2]}",
        f"{NOTE}Unexpected line.\n",
        f"{TEXT}\n{BY_PETER * 101}",
        # Our own.
        f"{NOTE}\n",
        f"{NOTE} ",
        f"{NOTE}\n{TEXT}",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("you", "you\t"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 ", "\u2014"),
        NOTE.replace("\u2014 ", "\u2014  "),
        NOTE.replace(" x08", "  x08"),
        NOTE.replace("Peter", "Peter+"),
        NOTE.replace("Peter", "Peter\u00a0"),
        NOTE.replace("Peter", "Peter\u2028"),
        NOTE.replace("PeterNeumann ", " "),
        NOTE.replace("x08", "x\u00e98"),
        NOTE.replace("=\n", "\n"),
        NOTE.replace("=\n", "==\n"),
        NOTE.replace("=\n", "= \n"),
        NOTE.replace("M=\n", "N=\n"),
        NOTE.replace("S9UG/", "S9UG_"),
        f"{TEXT}\n{signed_by('a', bytes(4))}",
        f"{TEXT}\n\u2014 a \n",
        f"{TEXT}\n\u2014 a\n",
        f"{TEXT}\n\u2014\n",
    ],
)
def test_what_is_no_note_is_not_read(note: str) -> None:
    for read in (text_of, lambda note: opened(note, VERIFIER)):
        with pytest.raises(SignatureError, match=r"^malformed (note|signature): expected "):
            read(note)


@each("text", ["", "a", "\na", "a\r\n", "\x00\n", "a\tb\n", "\ud800\n"])
def test_what_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(SignatureError, match=r"^malformed text: expected lines that end with"):
        sign(text, SIGNER)


lines = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=bytes(range(32)).decode())
)


@examples(300)
@given(st.lists(lines, min_size=1), st.binary(min_size=32, max_size=32))
def test_every_text_that_is_signed_opens(texts: list[str], key: bytes) -> None:
    signer, text = Signer("example.com/log", key), "\n".join(texts) + "\n"
    note = sign(text, signer)
    assert opened(note, signer.verifier()) == text_of(note) == text


@examples(300)
@given(st.data())
def test_no_changed_character_of_a_note_opens(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(NOTE) - 1))
    character = data.draw(st.characters().filter(lambda other: other != NOTE[place]))
    with pytest.raises(SignatureError):
        opened(NOTE[:place] + character + NOTE[place + 1 :], VERIFIER)


@pytest.mark.slow
def test_no_flipped_bit_of_a_note_opens() -> None:
    for bit in range(8 * len(NOTE.encode())):
        changed = bytearray(NOTE.encode())
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            opened(changed.decode(errors="surrogateescape"), VERIFIER)


NAMED = [PETER.encode(), PETER_PUBLIC.encode()]
PRIVATE = {
    "pkcs8": written(KEY, PrivateFormat.PKCS8),
    "openssh": written(KEY, PrivateFormat.OpenSSH),
    "text before": b"ED25519 Private-Key:\npriv:\n    00\n" + written(KEY, PrivateFormat.PKCS8),
}
PUBLIC = {
    "spki": published(KEY),
    "openssh": published(KEY, Encoding.OpenSSH),
    "comment": published(KEY, Encoding.OpenSSH) + b" me@example.com a+b",
}
AROUND: list[Callable[[bytes], bytes]] = [
    lambda content: content,
    lambda content: content.strip(),
    lambda content: content.strip() + b"\n",
    lambda content: content.strip() + b"\r\n",
    lambda content: content.replace(b"\n", b"\r\n"),
    lambda content: b"\n " + content + b"\n\n",
]


@each("around", AROUND, ids=range(len(AROUND)))
@each("form", PRIVATE)
def test_a_private_key_without_a_name_has_the_default_one(
    form: str, around: Callable[[bytes], bytes]
) -> None:
    content, key = around(PRIVATE[form]), KEY.private_bytes_raw()
    assert read_signer(content) == Signer(DEFAULT_NAME, key)
    assert read_verifier(content) == Signer(DEFAULT_NAME, key).verifier()


@each("around", AROUND, ids=range(len(AROUND)))
@each("form", PUBLIC)
def test_a_public_key_without_a_name_has_the_default_one(
    form: str, around: Callable[[bytes], bytes]
) -> None:
    content, key = around(PUBLIC[form]), KEY.public_key().public_bytes_raw()
    assert read_verifier(content) == Verifier(DEFAULT_NAME, key)


@each("around", AROUND, ids=range(len(AROUND)))
def test_a_key_with_a_name_keeps_it(around: Callable[[bytes], bytes]) -> None:
    assert read_signer(around(PETER.encode())) == SIGNER
    assert [read_verifier(around(content)) for content in NAMED] == [VERIFIER] * 2


def test_the_keys_of_rfc_8410_are_read() -> None:
    signer = read_signer(pem("PRIVATE KEY", RFC_8410))
    assert signer.verifier() == read_verifier(pem("PUBLIC KEY", RFC_8410_PUBLIC))


def test_a_new_signer_has_a_key_of_its_own_and_survives_being_written() -> None:
    signer = new_signer("example.com/log")
    assert (signer.name, len(signer.key)) == ("example.com/log", 32)
    assert signer.key != new_signer("example.com/log").key
    assert read_signer(signer.encoded().encode()) == signer
    assert read_verifier(signer.verifier().encoded().encode()) == signer.verifier()
    assert opened(sign("a\n", signer), signer.verifier()) == "a\n"


def test_a_signer_does_not_show_its_key_and_can_be_pickled() -> None:
    assert repr(SIGNER) == "Signer(name='PeterNeumann')"
    assert pickle.loads(pickle.dumps(SIGNER)) == SIGNER  # noqa: S301 - made right here
    assert hash(VERIFIER) == hash(SIGNER.verifier())


NAMES = ["", " ", "a b", "a+b", "a\n", "\x00", "\x1f", "a\u00a0", "\u2028", "\u3000", "\ud800"]


@each("name", NAMES)
def test_what_is_no_name_is_refused(name: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: new_signer(name),
        lambda: Signer(name, bytes(32)),
        lambda: Verifier(name, bytes(32)),
    ]
    for attempt in attempts:
        with pytest.raises(SignatureError, match=r"^the name of a key must consist of characters"):
            attempt()


@each("name", ["a", "example.com/log", "-", "caf\u00e9", "\u200b", "\x7f"])
def test_what_is_a_name_is_taken(name: str) -> None:
    signer = Signer(name, bytes(32))
    assert opened(sign("a\n", signer), signer.verifier()) == "a\n"
    assert read_verifier(signer.encoded().encode()) == signer.verifier()


@each("made", [Signer, Verifier])
@each("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(
    made: Callable[[str, bytes], object], length: int
) -> None:
    with pytest.raises(
        SignatureError, match=rf"^a key of Ed25519 has 32 bytes, this one {length}$"
    ):
        made("a", bytes(length))


# Every private key of this table is the same 32 bytes, which no message may show.
SEED = SIGNER.key
WRAPPED = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
SECRET = base64.b64encode(SEED).decode()
UNREADABLE = "malformed key: it is damaged, or of a form or an algorithm that is not known"
ENCRYPTED = "the key is encrypted: expected one without a passphrase"
OTHER = "not an Ed25519 key: expected one of that algorithm"
NOT_BASE64 = "malformed key: expected standard base64"
NO_PARTS = "malformed key: expected `name+id+base64`, PEM or OpenSSH's form"
NOT_ITS_ID = "malformed key: its id is not that of its name and its bytes"


def typed(kind: int, content: bytes, name: str = "a") -> bytes:
    """Return a private key as sumdb/note writes it, of any type and length."""
    key = base64.b64encode(bytes([kind]) + content).decode()
    return f"PRIVATE+KEY+{name}+c74f20a3+{key}".encode()


BAD_PRIVATE = [
    (written(WRAPPED, PrivateFormat.PKCS8, BestAvailableEncryption(b"a")), ENCRYPTED),
    (pem("OPENSSH PRIVATE KEY", ENCRYPTED_OPENSSH), ENCRYPTED),
    (written(CURVE, PrivateFormat.PKCS8), OTHER),
    (written(CURVE, PrivateFormat.TraditionalOpenSSL), OTHER),
    (written(CURVE, PrivateFormat.OpenSSH), OTHER),
    (written(GOLDILOCKS, PrivateFormat.PKCS8), OTHER),
    (typed(2, SEED), OTHER),
    (typed(4, SEED), OTHER),
    (b"PRIVATE+KEY+a+c74f20a3+", NO_PARTS),
    (written(WRAPPED, PrivateFormat.PKCS8)[:-40], UNREADABLE),
    (written(WRAPPED, PrivateFormat.OpenSSH)[:-80], UNREADABLE),
    (pem("PRIVATE KEY", SECRET), UNREADABLE),
    (pem("PRIVATE KEY", ""), UNREADABLE),
    (pem("OPENSSH PRIVATE KEY", SECRET), UNREADABLE),
    # Known to RFC 8410, but not to the library.
    (pem("PRIVATE KEY", RFC_8410_LONG), UNREADABLE),
    # An algorithm that there is not: the last number of the identifier of Ed25519 is another.
    (pem("PRIVATE KEY", RFC_8410.replace("K2Vw", "K2V/")), UNREADABLE),
    (typed(1, SEED[:31]), "a key of Ed25519 has 32 bytes, this one 31"),
    (typed(1, SEED + bytes(1)), "a key of Ed25519 has 32 bytes, this one 33"),
    (typed(1, SEED), NOT_ITS_ID),
    (PETER.replace("c74f20a3", "C74F20A3").encode(), NOT_ITS_ID),
    (PETER.replace("c74f20a3", "").encode(), NOT_ITS_ID),
    (PETER.replace("Peter", "Petra").encode(), NOT_ITS_ID),
    (PETER.encode()[:-1], NOT_BASE64),
    (PETER.encode() + b"=", NOT_BASE64),
    (PETER.replace("+AYEK", "+AYE\nK").encode(), NOT_BASE64),
    (PETER.replace("+AYEK", "+AYE\xffK").encode("latin-1"), NOT_BASE64),
    (b"PRIVATE+KEY+", NO_PARTS),
    (b"PRIVATE+KEY+" + SECRET.encode(), NO_PARTS),
    (b"PRIVATE+KEY+a+" + SECRET.encode(), NO_PARTS),
    (b"PRIVATE+KEY++" + SECRET.encode(), NO_PARTS),
    (b"PRIVATE+KEY+++" + SECRET.encode(), OTHER),
]


@each(("content", "expected"), BAD_PRIVATE, ids=range(len(BAD_PRIVATE)))
def test_what_is_no_private_key_is_refused_and_not_repeated(content: bytes, expected: str) -> None:
    for read in (read_signer, read_verifier):
        with pytest.raises(SignatureError) as caught:
            read(content)
        problem = caught.value
        assert str(problem) == expected
        assert isinstance(problem, PolicyRouterError)
        assert isinstance(problem, ValueError)
        # What the library said might quote the key.
        assert (problem.__cause__, problem.__context__) == (None, None)
        assert not any(part in repr(problem.args) for part in (SECRET[:8], SEED.hex()[:8]))


@each("name", [b"", b"a b", b"\xff", b"\xed\xa0\x80", b"\x01"])
def test_a_private_key_may_not_have_what_is_no_name(name: bytes) -> None:
    content = typed(1, SEED, "@").replace(b"@", name)
    with pytest.raises(SignatureError, match=r"^the name of a key must consist of characters"):
        read_signer(content)


NOT_PRIVATE = [
    b"",
    b"\xff\xfe",
    b"secret",
    PETER_PUBLIC.encode(),
    PETER.lower().encode(),
    PUBLIC["spki"],
    PUBLIC["openssh"],
    KEY.private_bytes_raw(),
]


@each("content", NOT_PRIVATE, ids=range(len(NOT_PRIVATE)))
def test_who_has_no_private_key_cannot_sign(content: bytes) -> None:
    expected = "^not a private key: expected sumdb/note's form, PKCS #8 PEM or OpenSSH$"
    with pytest.raises(SignatureError, match=expected):
        read_signer(content)


BAD_PUBLIC = [
    (published(CURVE), OTHER),
    (published(CURVE, Encoding.OpenSSH), OTHER),
    (published(GOLDILOCKS), OTHER),
    # A key of tlog-cosignature, which may be the same bytes, has another id.
    (PETER_PUBLIC.replace("+AR", "+BB").encode(), NOT_ITS_ID),
    (PETER_PUBLIC.replace("+AR", "+Ah").encode(), OTHER),
    (published(KEY)[:40], UNREADABLE),
    (pem("CERTIFICATE", RFC_8410_PUBLIC), UNREADABLE),
    (b"ssh-ed25519 AAAA", UNREADABLE),
    (b"ssh-dss AAAAB3NzaC1kc3M=", UNREADABLE),
    (b"# a comment", UNREADABLE),
    (b"", NO_PARTS),
    (b"\xff", NO_PARTS),
    (b"a+c74f20a3", NO_PARTS),
    (b"a+c74f20a3+", NO_PARTS),
    (b"secret", NO_PARTS),
    (PETER_PUBLIC.replace("ARpc", "AR_c").encode(), NOT_BASE64),
    (PETER_PUBLIC.replace("c74f20a3", "c74f20a4").encode(), NOT_ITS_ID),
    (PETER_PUBLIC.replace("ARpc", "ARpd").encode(), NOT_ITS_ID),
    # From the tests of golang.org/x/mod/sumdb/note: a key that is too long, with its own id.
    (
        b"PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        NOT_BASE64,
    ),
    (
        b"PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEQ==",
        "a key of Ed25519 has 32 bytes, this one 36",
    ),
]


@each(("content", "expected"), BAD_PUBLIC, ids=range(len(BAD_PUBLIC)))
def test_what_is_no_public_key_is_refused(content: bytes, expected: str) -> None:
    with pytest.raises(SignatureError) as caught:
        read_verifier(content)
    assert str(caught.value) == expected
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_no_part_of_a_key_is_a_key() -> None:
    for whole, read in ((PETER_PUBLIC, read_verifier), (PETER, read_signer)):
        for start in range(len(whole)):
            for end in range(start, len(whole) + 1):
                if (start, end) == (0, len(whole)) or whole[start:end] == PETER_PUBLIC:
                    continue
                with pytest.raises(SignatureError):
                    read(whole[start:end].encode())


def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library be as if it were not installed."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "cryptography":
            monkeypatch.setitem(sys.modules, name, None)


def test_without_the_library_a_key_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing(monkeypatch)
    attempts: list[Callable[[], object]] = [
        SIGNER.verifier,
        SIGNER.encoded,
        lambda: new_signer("a"),
        lambda: read_signer(PETER.encode()),
        lambda: read_signer(PRIVATE["pkcs8"]),
        lambda: read_verifier(PUBLIC["spki"]),
        lambda: sign(TEXT, SIGNER),
        lambda: opened(NOTE, VERIFIER),
    ]
    for attempt in attempts:
        with pytest.raises(ModuleNotFoundError) as caught:
            attempt()
        wanted = "signing needs the extra `sign`: pip install 'policy-router[sign]'"
        assert str(caught.value) == wanted
        assert caught.value.name == "cryptography"


def test_without_the_library_notes_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch)
    assert text_of(NOTE) == TEXT
    assert read_verifier(PETER_PUBLIC.encode()) == VERIFIER
    assert Checkpoint.from_text(text_of(BEHIND_THE_SOFA)).size == 20_852_163
    assert InclusionProof.from_text(PROOF).to_text() == PROOF


def test_the_library_is_imported_with_the_first_key(tmp_path: Path) -> None:
    program = "import sys, policy_router.log.sign.notes; print('cryptography' in sys.modules)"
    assert ran(program, cwd=tmp_path).split() == ["False"]


class Broken(types.ModuleType):
    """A module that needs another one that is missing."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ModuleNotFoundError(f"no {name}", name="_cffi_backend")


def test_a_library_that_lacks_another_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "cryptography.hazmat.primitives.asymmetric.ed25519"
    monkeypatch.setitem(sys.modules, name, Broken(name))
    with pytest.raises(ModuleNotFoundError) as caught:
        new_signer("a")
    assert caught.value.name == "_cffi_backend"


ROOT = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
HEAD = "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_example_of_tlog_checkpoint_is_read_and_written() -> None:
    text = text_of(BEHIND_THE_SOFA)
    checkpoint = Checkpoint.from_text(text)
    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20_852_163, ROOT)
    assert checkpoint.to_text() == text


CHECKPOINTS = [
    Checkpoint("a", 0, ROOT),
    Checkpoint("a", 2**64 - 1, ROOT),
    Checkpoint("Go.SUM Database, caf\u00e9 + \u2014 ", 10, bytes(32), ("one", " ", "\u2028")),
]


@each("checkpoint", CHECKPOINTS, ids=range(len(CHECKPOINTS)))
def test_a_checkpoint_survives_being_written(checkpoint: Checkpoint) -> None:
    assert Checkpoint.from_text(checkpoint.to_text()) == checkpoint
    assert opened(sign(checkpoint.to_text(), SIGNER), VERIFIER) == checkpoint.to_text()


@each(
    "text",
    [
        "",
        "\n",
        "a\n1\n",
        HEAD[:-1],
        f"\n{HEAD}",
        f"{HEAD}\n",
        f"{HEAD}one\n\n",
        f"{HEAD}\none\n",
        f"{HEAD}one",
        f"{HEAD}one\r\n",
        HEAD.replace("a\n", "\n"),
        HEAD.replace("a\n", "a\t\n"),
        HEAD.replace("a\n", "\ud800\n"),
        HEAD.replace("\n", "\r\n"),
        HEAD.replace("1\n", "\n"),
        HEAD.replace("1\n", "01\n"),
        HEAD.replace("1\n", "00\n"),
        HEAD.replace("1\n", "+1\n"),
        HEAD.replace("1\n", "-1\n"),
        HEAD.replace("1\n", " 1\n"),
        HEAD.replace("1\n", "1_0\n"),
        HEAD.replace("1\n", "1.0\n"),
        HEAD.replace("1\n", "\u0661\n"),
        HEAD.replace("1\n", f"{2**64}\n"),
        HEAD.replace("1\n", f"{'9' * 5000}\n"),
        HEAD.replace("2I=", "2I"),
        HEAD.replace("2I=", "2J="),
        HEAD.replace("2I=", "2I= "),
        HEAD.replace("2I=", "2I=="),
        HEAD.replace("/X", "_X"),
        "a\n1\nYmFuYW5hcw==\n",
        "a\n1\n=\n",
    ],
)
def test_what_is_no_checkpoint_is_not_read(text: str) -> None:
    with pytest.raises(SignatureError, match=r"^malformed checkpoint: expected ") as caught:
        Checkpoint.from_text(text)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@each(
    ("origin", "size", "top", "extensions"),
    [
        ("", 1, ROOT, ()),
        ("a\n2", 1, ROOT, ()),
        ("a", -1, ROOT, ()),
        ("a", 2**64, ROOT, ()),
        ("a", 1, ROOT[:31], ()),
        ("a", 1, b"", ()),
        ("a", 1, ROOT, ("",)),
        ("a", 1, ROOT, ("one\n",)),
    ],
)
def test_no_checkpoint_is_made_that_cannot_be_written(
    origin: str, size: int, top: bytes, extensions: tuple[str, ...]
) -> None:
    with pytest.raises(SignatureError, match=r"^malformed checkpoint: expected lines of origin"):
        Checkpoint(origin, size, top, extensions)


# The example of tlog-proof, but for the signatures, which it shortens.
PROOF_LINES = """\
c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

"""
FANCY = "example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n"
PROOF = PROOF_LINES + sign(FANCY, SIGNER)
EXTRA = PROOF_LINES.split("\n")[1]


def test_the_example_of_tlog_proof_is_read_and_written() -> None:
    proof = InclusionProof.from_text(PROOF)
    assert (proof.index, len(proof.hashes)) == (73_894, 5)
    assert proof.hashes[0].hex()[:8] == "8122b25e"
    assert proof.line.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")
    assert Checkpoint.from_text(opened(proof.checkpoint, VERIFIER)).size == 109_482
    assert proof.to_text() == PROOF


@each("size", [1, 2, 7, 8])
def test_a_proof_is_all_that_it_takes(size: int) -> None:
    log = [f'{{"seq":{number}}}'.encode() for number in range(size)]
    leaves = [leaf_hash(line) for line in log]
    note = sign(Checkpoint("example.com/log", size, root(leaves)).to_text(), SIGNER)
    for index, line in enumerate(log):
        text = InclusionProof(
            index, inclusion_proof(nodes_of(leaves), index, size), note, line
        ).to_text()
        proof = InclusionProof.from_text(text)
        signed = Checkpoint.from_text(opened(proof.checkpoint, VERIFIER))
        leaf = leaf_hash(proof.line)
        assert (proof.line, proof.index, signed.size) == (line, index, size)
        assert verify_inclusion(leaf, proof.index, signed.size, proof.hashes, signed.root)


@each(
    "text",
    [
        "",
        PROOF[:-1],
        PROOF_LINES,
        PROOF.replace("@v1", "@v2"),
        PROOF.replace("c2sp", " c2sp"),
        PROOF.replace("extra YWdl", "extra  YWdl"),
        PROOF.replace("extra YWdl", "extra YWd"),
        PROOF.replace("extra YWdl", "extra YW_l"),
        PROOF.replace("extra YWdl", "extra YWdl\nYWdl"),
        PROOF.replace("extra YWdl", "Extra YWdl"),
        PROOF.replace(EXTRA, "extra "),
        PROOF.replace(EXTRA, "extra"),
        PROOF.replace(f"{EXTRA}\n", ""),
        PROOF.replace("index 73894", "index"),
        PROOF.replace("index 73894", "index "),
        PROOF.replace("index 73894", "index 073894"),
        PROOF.replace("index 73894", "index -1"),
        PROOF.replace("index 73894", "index +1"),
        PROOF.replace("index 73894", "index notanumber"),
        PROOF.replace("index 73894", f"index {2**64}"),
        PROOF.replace("index 73894\n", ""),
        PROOF.replace("gSKy", ""),
        PROOF.replace("gSKy", "gSKygSKy"),
        PROOF.replace("gSKy", "!!notbase64!!"),
        PROOF.replace("PlQ=", "PlR="),
        PROOF.replace("\n\n", "\n", 1),
        PROOF.replace("\n\n", "\n\n\n", 1),
        PROOF.replace("\n", "\r\n"),
        PROOF.replace("109482", "0109482"),
        PROOF.replace("\u2014", "-"),
        f"{PROOF_LINES}{FANCY}",
        f"{PROOF_LINES}checkpoint\n",
        f"{PROOF}\n",
        f"\n{PROOF}",
    ],
)
def test_what_is_no_proof_is_not_read(text: str) -> None:
    with pytest.raises(SignatureError, match=r"^malformed \w+: expected ") as caught:
        InclusionProof.from_text(text)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@each(
    ("index", "hashes", "checkpoint", "line"),
    [
        (-1, (), sign(FANCY, SIGNER), b"{}"),
        (2**64, (), sign(FANCY, SIGNER), b"{}"),
        (0, (b"",), sign(FANCY, SIGNER), b"{}"),
        (0, (bytes(33),), sign(FANCY, SIGNER), b"{}"),
        (0, (), sign(FANCY, SIGNER), b""),
        (0, (), FANCY, b"{}"),
        (0, (), NOTE, b"{}"),
    ],
)
def test_no_proof_is_made_that_cannot_be_written(
    index: int, hashes: tuple[bytes, ...], checkpoint: str, line: bytes
) -> None:
    with pytest.raises(SignatureError, match=r"^malformed \w+: expected "):
        InclusionProof(index, hashes, checkpoint, line)
