"""Takes each decision out of the access model, one at a time, and asks which worlds notice.

`prepare FOLDER` writes a copy of the source with every mutation in it, each behind a switch. `ask` answers for
the worlds of compare.py with every mutation in turn. As the model gives LiteLLM's answer in those worlds, a
mutation that changes an answer is one that the comparison would report. Exits with 1 where nobody notices one.
"""

import argparse
import collections
import pathlib
import re
import shutil
import sys

import mutations

RULES = mutations.ACCESS + "rules.rs"
PACKAGE = "mcp-prune-mutations"


def every_mutation():
    """All mutations, those of the rules first; and the text of each file that has some."""
    texts = {RULES: pathlib.Path(RULES).read_text()}
    found, rule = [], None
    # The rule is turned round where it asks for a release, which it knows by the line.
    for number, line in enumerate(texts[RULES].splitlines(), 1):
        rule = (re.search(r"pub\(crate\) fn (\w+)", line) or [None, rule])[1]
        if re.search(r"\.(since|reaches)\(", line) and "self.reaches(Release::new(" not in line:
            found.append(mutations.Mutation(number, RULES, f"{rule}: {line.strip()}"))
    first = 10_000
    for file in mutations.FILES:
        texts[file], written = mutations.write(file, pathlib.Path(file).read_text(), first + len(found))
        found += written
    texts[RULES] = replaced(texts[RULES], "#[cfg_attr(test, track_caller)]", "#[track_caller]", 2)
    texts[RULES] = replaced(texts[RULES], "#[cfg(test)]", "", 1)
    texts[RULES] = replaced(texts[RULES], "super::tests::is_broken(", "crate::mutation::is_on(", 1)
    whole = mutations.ACCESS + "mod.rs"
    ask = "self.answer(caller, &mut Trace::none())"
    texts[whole] = replaced(texts[whole], ask, f"crate::mutation::sweep(|| {ask}.servers); {ask}", 1)
    return found, texts


def replaced(text, old, new, times):
    if text.count(old) != times:
        sys.exit(f"{text.count(old)} times {old!r} instead of {times}; mend tests/conformance/mutate.py")
    return text.replace(old, new)


def prepare(folder):
    copy = pathlib.Path(folder)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree("src", copy / "src")
    for file in ("Cargo.toml", "Cargo.lock"):
        text = replaced(pathlib.Path(file).read_text(), 'name = "mcp-prune"', f'name = "{PACKAGE}"', 2 if file.endswith("toml") else 1)
        # The benchmark stays behind; the library keeps its name.
        text = re.sub(r"\[\[bench\]\].*?\n\n", "", text, flags=re.S).replace("[lib]\n", '[lib]\nname = "mcp_prune"\n')
        (copy / file).write_text(text)
    for file in ("README.md", "build.rs"):
        shutil.copy(file, copy)
    shutil.copy("tests/conformance/mutation.rs", copy / "src")
    for file, text in every_mutation()[1].items():
        (copy / file).write_text(text)
    library = "#![allow(warnings)]\n" + (copy / "src/lib.rs").read_text()
    (copy / "src/lib.rs").write_text(replaced(library, "mod litellm;\n", "mod litellm;\nmod mutation;\n", 1))


class Asking:
    """One release, and the worlds that it is asked about."""

    def __init__(self, arguments, release):
        from database import Database
        from product import world_of

        litellm = next(pathlib.Path(f"target/litellm-{release}/lib").glob("python*/site-packages/litellm"))
        self.release, self.schema = release, f"mutations_{release}"
        self.program = (arguments.binary, arguments.url, self.schema, release)
        self.database = Database(arguments.url, (litellm / "proxy/schema.prisma").read_text(), self.schema)
        self.world = lambda number: world_of(release, "1", number)

    def noticed(self, mutations, worlds):
        """How many of the worlds notice each mutation, as an answer to one caller changes."""
        from product import ndjson

        counts = collections.Counter()
        for world in map(self.world, worlds):
            self.database.fill(world.rows)
            _, messages = ndjson(*self.program, world, MUTATIONS=" ".join(map(str, mutations)))
            counts.update(int(number) for number in re.findall(r"^noticed (\d+)$", messages, re.M))
        return counts

    def noticed_whole(self, mutations, worlds):
        """The first world that notices each mutation, where the whole program runs with it."""
        from product import product

        first = {}
        for at in worlds:
            left = [number for number in mutations if number not in first]
            if not left:
                break
            world = self.world(at)
            self.database.fill(world.rows)
            right = product(*self.program, world)
            first |= {number: at for number in left if product(*self.program, world, MUTATION=str(number)) != right}
        return first


def ask(arguments):
    every, _ = every_mutation()
    every = [mutation for mutation in every if re.search(arguments.only, f"{mutation.file} {mutation.name}")]
    found = {mutation.number: {} for mutation in every}
    asking = [Asking(arguments, release) for release in arguments.releases]
    for one in asking:
        counts = one.noticed([mutation.number for mutation in every if not mutation.is_whole()], range(arguments.worlds))
        for number, count in counts.items():
            found[number][one.release] = count
        print(f"{one.release}: {len(counts)} of {len(every)} mutations noticed", flush=True)
    for one in reversed(asking):
        silent = [mutation.number for mutation in every if mutation.is_whole() and not found[mutation.number]]
        for number, world in one.noticed_whole(silent, range(arguments.worlds)).items():
            found[number][one.release] = f"world {world}"
    # What is rare is looked for in all the worlds of the comparison.
    for one in reversed(asking):
        silent = [mutation.number for mutation in every if not mutation.is_whole() and not found[mutation.number]]
        if silent and arguments.worlds < arguments.most:
            for number, count in one.noticed(silent, range(arguments.worlds, arguments.most)).items():
                found[number][one.release] = f"{count} of {arguments.most}"
    print(f"\nEach mutation, and how many of {arguments.worlds} worlds notice it in each release:")
    for mutation in every:
        told = ", ".join(f"{release} {count}" for release, count in found[mutation.number].items())
        print(f"{pathlib.Path(mutation.file).name}: {mutation.name}: {told or 'NOBODY NOTICES'}")
    silent = [mutation for mutation in every if not found[mutation.number]]
    print(f"\n{len(every)} mutations, {len(silent)} that nobody notices")
    return bool(silent)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("prepare").add_argument("folder")
    asking = commands.add_parser("ask")
    asking.add_argument("--binary", required=True)
    asking.add_argument("--url", required=True)
    asking.add_argument("--worlds", type=int, required=True)
    asking.add_argument("--most", type=int, default=300)
    asking.add_argument("--only", default="")
    asking.add_argument("releases", nargs="+")
    arguments = parser.parse_args()
    sys.exit(prepare(arguments.folder) if arguments.command == "prepare" else ask(arguments))


main()
