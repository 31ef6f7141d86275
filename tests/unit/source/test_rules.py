import pytest

from overland.source.rules import PatternInvalid, Rules


def kept(path: str, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> bool:
    """Walk down to `path` as the scan does; a trailing slash makes it a folder."""
    rules = Rules(include=include, exclude=exclude)
    is_folder = path.endswith("/")
    parts = path.strip("/").encode().split(b"/")
    is_included = rules.includes(b"", is_included=False)
    for depth in range(1, len(parts)):
        above = b"/".join(parts[:depth])
        if not rules.keeps(above, is_folder=True, is_included=is_included):
            return False
        is_included = rules.includes(above, is_included=is_included)
    return rules.keeps(b"/".join(parts), is_folder=is_folder, is_included=is_included)


@pytest.mark.parametrize(
    ("pattern", "path", "is_kept"),
    [
        ("*.tmp", "a.tmp", False),
        ("*.tmp", "deep/down/a.tmp", False),
        ("*.tmp", "a.tmp.txt", True),
        ("/cache", "cache/x", False),
        ("/cache", "deep/cache", True),
        ("cache/", "deep/cache/x", False),
        ("cache/", "deep/cache", True),
        ("build/*.o", "build/a.o", False),
        ("build/*.o", "build/sub/a.o", True),
        ("build/**/*.o", "build/sub/deep/a.o", False),
        ("build/**/*.o", "build/a.o", False),
        ("build/**", "build/anything/below", False),
        ("build/**", "build/", True),
        ("**/target", "a/b/target", False),
        ("file?.txt", "file1.txt", False),
        ("file?.txt", "file12.txt", True),
        ("file[0-3].txt", "file2.txt", False),
        ("file[!0-3].txt", "file2.txt", True),
        ("a.b", "axb", True),
        ("two\nlines", "two\nlines", False),
        (r"\*", "*", False),
        (r"\*", "x", True),
    ],
)
def test_an_exclude_pattern_takes_out_what_it_says(
    pattern: str,
    path: str,
    is_kept: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    assert kept(path, exclude=(pattern,)) is is_kept


def test_the_last_pattern_that_matches_decides() -> None:
    assert kept("keep.tmp", exclude=("*.tmp", "!keep.tmp"))
    assert not kept("keep.tmp", exclude=("!keep.tmp", "*.tmp"))


def test_nothing_below_an_excluded_folder_comes_back() -> None:
    assert not kept("cache/keep.txt", exclude=("cache/", "!cache/keep.txt"))


def test_include_patterns_leave_out_all_other_files_and_keep_the_way_to_theirs() -> None:
    include = ("*.doc", "/projects/")
    assert kept("deep/a.doc", include=include)
    assert kept("projects/any/thing", include=include)
    assert kept("deep/", include=include)
    assert not kept("deep/a.txt", include=include)
    assert not kept("deep/projects/a.txt", include=include)


def test_exclude_beats_include() -> None:
    assert not kept("a.doc", include=("*.doc",), exclude=("a.*",))


@pytest.mark.parametrize("pattern", ["", "!", "/", "a[b", "a[9-0]", "x" * 4097, "x\udcff"])
def test_a_pattern_that_cannot_be_understood_or_kept_is_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid) as refused:
        Rules(include=(), exclude=(pattern,))
    assert refused.value.pattern == pattern


def test_without_patterns_everything_is_kept() -> None:
    assert Rules(include=(), exclude=()).keeps_everything
