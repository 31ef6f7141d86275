"""The primitives as we use them, against published vectors.

A library that is swapped, a parameter that is changed, or a wrapper that does something else is
noticed here and not by whoever restores in ten years.  Each source is cited where its bytes stand;
where our wrapper puts something of its own around the primitive, the primitive is tested bare and
the wrapper against it.
"""

import hashlib
import hmac
from typing import Final

import pytest
from backports import zstd
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from overland.crypto.aead import PackCipher, SealBroken, derive
from overland.crypto.ids import chunk_id
from overland.crypto.keyring import Argon2Parameters
from overland.crypto.masterkey import Subkeys
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key, sign, verify
from overland.crypto.slots import stretch
from overland.errors import ObjectCorrupt, SignatureInvalid
from overland.format.pack import CODEC_ZSTD, TAG_BYTES
from overland.sealing.seal import PackSeal, open_pack
from overland.values import RepositoryId

h = bytes.fromhex

# HKDF-SHA256: RFC 5869, appendix A: input key, salt, info, output key.
HKDF_VECTORS: Final = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("key", "salt", "info", "output"), HKDF_VECTORS)
def test_hkdf_is_that_of_rfc_5869(key: str, salt: str, info: str, output: str) -> None:
    made = HKDF(
        algorithm=hashes.SHA256(), length=len(output) // 2, salt=h(salt), info=h(info)
    ).derive(h(key))
    assert made.hex() == output


def test_our_derivation_is_hkdf_with_our_label() -> None:
    """RFC 5869 §2, written out: extract, then one block of expand."""
    key, salt = b"k" * 32, b"s" * 32
    extracted = hmac.digest(salt, key, "sha256")
    expected = hmac.digest(extracted, b"overland-v1/pack\x01", "sha256")
    assert derive(Secret(key), "pack", salt=salt).reveal() == expected
    bare = hmac.digest(hmac.digest(bytes(32), key, "sha256"), b"overland-v1/x\x01", "sha256")
    assert derive(Secret(key), "x", salt=b"").reveal() == bare, "no salt is 32 zero bytes"


# HMAC-SHA256: RFC 4231, test cases 1, 2 and 6.
@pytest.mark.parametrize(
    ("key", "data", "mac"),
    [
        (
            "0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe".hex(),
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "aa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_hmac_is_that_of_rfc_4231(key: str, data: bytes, mac: str) -> None:
    assert hmac.digest(h(key), data, "sha256").hex() == mac


# SHA-256: FIPS 180-4, the examples of NIST's cryptographic toolkit.
@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_sha256_is_that_of_fips_180_4(data: bytes, digest: str) -> None:
    assert hashlib.sha256(data).hexdigest() == digest


# Argon2id version 1.3: the reference implementation's own tests (P-H-C/phc-winner-argon2,
# src/test.c); RFC 9106 §5.3 uses a secret and associated data, which we do not.
@pytest.mark.parametrize(
    ("memory_kib", "iterations", "lanes", "output"),
    [
        (65536, 2, 1, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
        (256, 2, 1, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
        (256, 2, 2, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
        (65536, 1, 1, "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"),
    ],
)
def test_our_stretching_is_argon2id(
    memory_kib: int, iterations: int, lanes: int, output: str
) -> None:
    cost = Argon2Parameters(memory_kib=memory_kib, iterations=iterations, lanes=lanes)
    assert stretch("password", b"somesalt", cost).reveal().hex() == output


def test_argon2id_is_that_of_rfc_9106() -> None:
    kdf = Argon2id(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        ad=b"\x04" * 12,
        secret=b"\x03" * 8,
    )
    expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert kdf.derive(b"\x01" * 32).hex() == expected


# AES-256-GCM: McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, cases 13-16.
_GCM_KEY: Final = "feffe9928665731c6d6a8f9467308308" * 2
_GCM_PLAIN: Final = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
_GCM_SEALED: Final = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)


def test_our_first_segment_is_gcm_case_13_and_14() -> None:
    """Number 0 is the nonce of 12 zero bytes, and an empty header is no additional data."""
    cipher = PackCipher(Secret(bytes(32)), header=b"", name="vector")
    out = memoryview(bytearray(32))
    assert cipher.seal_segment(0, b"", out) == 16
    assert out[:16].hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    assert cipher.seal_segment(0, bytes(16), out) == 32
    assert out.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert cipher.open_segment(0, out) == bytes(16)


def test_gcm_is_that_of_its_authors() -> None:
    aead, nonce = AESGCM(h(_GCM_KEY)), h("cafebabefacedbaddecaf888")
    sealed = aead.encrypt(nonce, h(_GCM_PLAIN), b"")
    assert sealed.hex() == _GCM_SEALED + "b094dac5d93471bdec1a502270e3cc6c"
    aad = h("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = aead.encrypt(nonce, h(_GCM_PLAIN)[:60], aad)
    assert sealed.hex() == _GCM_SEALED[:120] + "76fc6ece0f4e1768cddf8853bb2d551b"


def test_the_nonce_is_the_number_in_little_endian() -> None:
    key, number = bytes(range(32)), 0x0102030405060708
    out = memoryview(bytearray(20))
    PackCipher(Secret(key), header=b"head", name="vector").seal_segment(number, b"text", out)
    nonce = h("00000000" + "0807060504030201")
    assert bytes(out) == AESGCM(key).encrypt(nonce, b"text", b"head")


def test_a_shorter_tag_or_none_is_refused() -> None:
    """As Wycheproof's: GCM allows tags of 4 to 16 bytes, and we take 16 only."""
    cipher = PackCipher(Secret(bytes(32)), header=b"", name="vector")
    out = bytearray(32)
    cipher.seal_segment(0, bytes(16), memoryview(out))
    for length in range(32):
        with pytest.raises(SealBroken):
            cipher.open_segment(0, bytes(out[:length]))
    for bit in range(256):
        changed = bytearray(out)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            cipher.open_segment(0, bytes(changed))
    with pytest.raises(InvalidTag):
        AESGCM(bytes(32)).decrypt(bytes(12), bytes(out) + b"\0", b"")


# BLAKE3: test_vectors/test_vectors.json of the BLAKE3 team: length, hash, keyed, derived.
BLAKE3_VECTORS: Final = [
    (
        0,
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
        "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
    ),
    (
        1,
        "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
        "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
    ),
    (
        1024,
        "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
        "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
        "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
    ),
]


@pytest.mark.parametrize(("length", "plain", "keyed", "derived"), BLAKE3_VECTORS)
def test_chunk_ids_are_keyed_blake3(length: int, plain: str, keyed: str, derived: str) -> None:
    data = bytes(i % 251 for i in range(length))
    key = b"whats the Elvish word for friend"
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    assert chunk_id(Secret(key), data).hex() == keyed
    assert blake3(data).hexdigest() == plain
    assert blake3(data, derive_key_context=context).hexdigest() == derived


# Ed25519: RFC 8032 §7.1, tests 1 to 3: private key, public key, message, signature.
ED25519_VECTORS: Final = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("private", "public", "message", "signature"), ED25519_VECTORS)
def test_signatures_are_ed25519(private: str, public: str, message: str, signature: str) -> None:
    assert public_key(Secret(h(private))).hex() == public
    bare = Ed25519PrivateKey.from_private_bytes(h(private))
    assert bare.sign(h(message)).hex() == signature
    ours = sign(Secret(h(private)), "purpose", h(message))
    assert ours == bare.sign(b"purpose\0" + h(message)), "the purpose and a zero byte come first"
    verify(h(public), "purpose", h(message), ours)


# The order of the base point, and the field: RFC 8032 §5.1.
_L: Final = 2**252 + 27742317777372353535851937790883648493
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def test_a_signature_has_one_form() -> None:
    """S + L signs the same text where a verifier does not look (Wycheproof: malleability)."""
    private = Secret(b"k" * 32)
    signature = sign(private, "purpose", b"text")
    scalar = int.from_bytes(signature[32:], "little")
    for times in (1, 2, 8):
        other = scalar + times * _L
        if other < 1 << 256:
            again = signature[:32] + other.to_bytes(32, "little")
            with pytest.raises(SignatureInvalid):
                verify(public_key(private), "purpose", b"text", again)


def test_a_key_of_small_order_signs_nothing() -> None:
    """Under such a key, R = the identity and S = 0 fit a text or every text."""
    forged = (1).to_bytes(32, "little") + bytes(32)
    taken_by_library = 0
    for y in _small_order_ys():
        for sign_bit in (0, 0x80):
            encoded = bytearray(y.to_bytes(32, "little"))
            encoded[31] |= sign_bit
            for text in range(20):
                message = b"%d" % text
                with pytest.raises(SignatureInvalid):
                    verify(bytes(encoded), "purpose", message, forged)
                taken_by_library += _library_takes(bytes(encoded), message, forged)
    assert taken_by_library, "the library refuses them itself: the list in crypto.sign can go"


def _library_takes(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, b"purpose\0" + message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _small_order_ys() -> list[int]:
    """Return the y of all points of order 1, 2, 4 and 8, and the two that are not reduced.

    On the curve -x² + y² = 1 + d x² y², a point of order 8 is one whose double has y = 0, which
    means y² = -x²; with u for both, the curve says 2u = 1 - d u², so u = (-1 ± √(1 + d)) / d.
    """
    ys = {1, _P - 1, 0}
    root = _square_root((1 + _D) % _P)
    for part in (root, -root):
        u = (-1 + part) * pow(_D, -1, _P) % _P
        if pow(u, (_P - 1) // 2, _P) == 1:
            y = _square_root(u)
            ys |= {y, _P - y}
    assert len(ys) == 5, "eight points, whose x differ in sign"
    return [*ys, _P, _P + 1]


def _square_root(n: int) -> int:
    """RFC 8032 §5.1.3, for p = 5 mod 8."""
    root = pow(n, (_P + 3) // 8, _P)
    if root * root % _P != n % _P:
        root = root * pow(2, (_P - 1) // 4, _P) % _P
    assert root * root % _P == n % _P, "it is a square"
    return root


# Zstandard frames, made by hand from RFC 8878 §3.1: magic, single segment with a size of one byte,
# and one last block: raw, or run-length encoded.
RAW_FRAME: Final = h("28b52ffd" + "20" + "05" + "290000") + b"hello"
RLE_FRAME: Final = h("28b52ffd" + "20" + "64" + "230300") + b"a"
SKIPPABLE: Final = h("502a4d18" + "04000000") + b"skip"
EMPTY_FRAME: Final = h("28b52ffd" + "20" + "00" + "010000")


def _opened(packed: bytes, raw_bytes: int) -> bytes:
    """Seal bytes as a compressed segment, and open it as every reader does."""
    repository_id = RepositoryId("0b9d2a5e-7c14-4e0f-9a63-5d1f0c8e2b71")
    subkey = Subkeys([Secret(b"s" * 32)])
    pack = PackSeal(subkey, repository_id=repository_id, salt=bytes(32))
    out = memoryview(bytearray(len(packed) + TAG_BYTES))
    pack.seal_into(packed, out)
    opener = open_pack(subkey, repository_id=repository_id)(pack.header, "vector")
    return opener.open_segment(0, out, codec=CODEC_ZSTD, raw_bytes=raw_bytes)


def test_frames_are_those_of_rfc_8878() -> None:
    assert _opened(RAW_FRAME, 5) == b"hello"
    assert _opened(RLE_FRAME, 100) == b"a" * 100
    assert zstd.decompress(EMPTY_FRAME) == b""


@pytest.mark.parametrize(
    ("packed", "raw_bytes"),
    [
        pytest.param(RAW_FRAME, 4, id="longer than the row says"),
        pytest.param(RAW_FRAME, 6, id="shorter than the row says"),
        pytest.param(RAW_FRAME[:-1], 5, id="cut"),
        pytest.param(RAW_FRAME + RAW_FRAME, 10, id="two frames"),
        pytest.param(RAW_FRAME + EMPTY_FRAME, 5, id="an empty frame behind"),
        pytest.param(RAW_FRAME + b"\0", 5, id="a byte behind"),
        pytest.param(RAW_FRAME + SKIPPABLE, 5, id="a skippable frame behind"),
        pytest.param(SKIPPABLE, 4, id="a skippable frame alone"),
        pytest.param(b"", 5, id="nothing"),
        pytest.param(b"hello", 5, id="no frame"),
        pytest.param(h("28b52ffd21" + "01" + "05" + "290000") + b"hello", 5, id="a dictionary"),
        pytest.param(h("28b52ffd00" + "f8" + "290000") + b"hello", 5, id="a window of 2 TiB"),
        pytest.param(h("28b52ffd20" + "05" + "2f0000") + b"hello", 5, id="a reserved block"),
        pytest.param(h("1eb52ffd" + "20" + "05" + "290000") + b"hello", 5, id="an older version"),
        pytest.param(zstd.compress(bytes(16 << 20)), 4096, id="a bomb"),
    ],
)
def test_what_is_not_one_frame_of_the_rows_length_is_refused(packed: bytes, raw_bytes: int) -> None:
    with pytest.raises(ObjectCorrupt):
        _opened(packed, raw_bytes)
