"""Rule: the container holds the two programs and just the libraries that they need, runs as nobody in particular, and
its ports, folder and user are those of the StatefulSet. Without a container engine: the file is read, its instructions
are held against this repository and against `ldd` of the programs. The checks are tried on broken files first.
"""

import functools
import glob
import os
import re
import shutil
import subprocess
import sys

import manifest

SKIPPED = 77
FOLDER = os.path.join(manifest.ROOT, "deploy/container")
COTERIED = os.environ.get("COTERIED", os.path.join(manifest.ROOT, "build/dev/coteried"))
COTERIE = os.environ.get("COTERIE", os.path.join(manifest.ROOT, "build/dev/coterie"))


class Image:
    """The instructions of each stage, as (word, rest)."""

    def __init__(self, text, packages, ignored):
        joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
        self.stages = []
        for line in filter(str.strip, joined.splitlines()):
            word, rest = line.split(None, 1)
            if word == "FROM":
                self.stages.append([])
            self.stages[-1].append((word, " ".join(rest.split())))
        self.packages = packages.split()
        self.ignored = ignored.split()
        self.text = text

    def all(self, word, stage=-1):
        return [rest for found, rest in self.stages[stage] if found == word]

    def one(self, word, stage=-1):
        rest, = self.all(word, stage)
        return rest


def read(name):
    with open(os.path.join(FOLDER, name)) as file:
        return file.read()


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


# -- the checks


def stages(image):
    """Two, both on Debian 12's slim image; the compiler stays in the first."""
    assert [image.one("FROM", i) for i in range(len(image.stages))] == ["debian:12-slim AS build", "debian:12-slim"]
    for package in image.packages:
        assert not package.endswith("-dev") and package not in ("gcc", "cmake"), package


def sources_exist(image):
    """Each COPY takes what is there: files of the repository that are not ignored, programs that CMake makes."""
    for stage in range(len(image.stages)):
        for rest in image.all("COPY", stage):
            *sources, target = rest.split()
            if sources[0] == "--from=build":
                assert sources[1:] == ["/src/build/release/coteried", "/src/build/release/coterie"], sources
                assert target == "/usr/bin/", target
                continue
            for source in sources:
                assert os.path.exists(os.path.join(manifest.ROOT, source)), source
                assert source.split("/")[0] not in image.ignored, source
    for name in ("CMakeLists.txt", "CMakePresets.json", "tests", "proto"):
        assert name not in image.ignored and os.path.exists(os.path.join(manifest.ROOT, name)), name
    assert {"build", ".git"} <= set(image.ignored)


def builds_what_it_copies(image):
    build = " ".join(image.all("RUN", 0))
    assert "deploy/install-packages" in build and "--tests" not in build, build
    assert "cmake --preset release " in build and "--target coteried coterie " in build, build
    assert '"name": "release"' in open(os.path.join(manifest.ROOT, "CMakePresets.json")).read()


def installs_cleanly(image):
    """Lists are renewed and removed in the layer that installs; nothing that is only recommended comes along."""
    install, = [rest for rest in image.all("RUN") if "apt-get" in rest]
    assert install.startswith("apt-get update &&") and "--no-install-recommends" in install
    assert "rm -rf /var/lib/apt/lists/*" in install and "</tmp/runtime-packages" in install
    assert " -y " in install and "sudo" not in image.text and not image.all("ADD")


def runs_as_nobody(image):
    """A user by number (runAsNonRoot cannot check a name), who owns the data folder, and starts the daemon itself:
    a shell in between would swallow SIGTERM."""
    user, group = image.one("USER").split(":")
    assert int(user) >= 1000 and int(group) >= 1000
    data = image.one("VOLUME")
    assert any("install -d -o %s -g %s -m 0700 %s" % (user, group, data) in rest for rest in image.all("RUN"))
    assert image.one("ENTRYPOINT") == '["/usr/bin/coteried"]' and not image.all("CMD")
    assert image.one("STOPSIGNAL") == "SIGTERM"
    words = [word for word, _ in image.stages[-1]]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN"), "installs need root"


def settings_are_taken(image):
    """Its environment is understood by coteried."""
    environment = dict(entry.split("=", 1) for entry in image.one("ENV").split())
    done = subprocess.run([COTERIED, "config", "print", "--origin"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# environment") == len(environment) == 3, done.stdout
    assert environment["COTERIE_DATA_DIR"] == image.one("VOLUME") == image.one("WORKDIR")
    health = image.one("HEALTHCHECK")
    assert health.endswith('CMD ["coterie", "health"]'), health
    assert "\nUsage\n  coterie health" in run(COTERIE, "health", "--help")


def fits_the_stateful_set(image):
    """The same user, ports, folder; the image's name is the one to build."""
    objects = manifest.render("base")
    box, flags = manifest.container(objects), manifest.flags(objects)
    security = manifest.at(manifest.pod_template(objects), "spec securityContext")
    assert image.one("USER") == "%d:%d" % (security["runAsUser"], security["runAsGroup"])
    assert image.one("EXPOSE").split() == [str(port["containerPort"]) for port in box["ports"]]
    assert image.one("VOLUME") == flags["data-dir"]
    assert "-t %s ." % box["image"] in image.text, box["image"]
    version = re.search(r"project\(coterie VERSION (\S+)", open(os.path.join(manifest.ROOT, "CMakeLists.txt")).read())
    assert box["image"] == "coterie:" + version.group(1)


@functools.lru_cache(maxsize=None)
def owners():
    """path -> package, of the files of all packages here."""
    found = {}
    for name in glob.glob("/var/lib/dpkg/info/*.list"):
        package = os.path.basename(name)[:-len(".list")].split(":")[0]
        with open(name, errors="replace") as file:
            found.update((path, package) for path in file.read().splitlines() if ".so" in path)
    return found


def owner(library):
    """dpkg knows a path with or without /usr."""
    path = os.path.realpath(library)
    for name in (path, path.removeprefix("/usr")):
        if name in owners():
            return owners()[name]
    raise AssertionError("no package has %s" % library)


@functools.lru_cache(maxsize=None)
def linked(program):
    """What the program itself names, and everything that comes with it: paths."""
    named = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program))
    told = run("ldd", program)
    assert "not found" not in told, told
    paths = dict(re.findall(r"(\S+) => (/\S+)", told))
    return [paths[name] for name in named], list(paths.values())


@functools.lru_cache(maxsize=None)
def dependencies():
    """package -> what it depends on, of all that are installed here."""
    lines = run("dpkg-query", "-W", "-f=${db:Status-Status}\t${Package}\t${Depends},${Pre-Depends}\n").splitlines()
    fields = [line.split("\t") for line in lines]
    return {name: re.findall(r"(?:^|[,|])\s*([a-z0-9.+-]+)", text)
            for status, name, text in fields if status == "installed"}


def closure(packages):
    """With all that they depend on."""
    found, left = set(), list(packages)
    while left:
        name = left.pop()
        if name not in found and name in dependencies():
            found.add(name)
            left += dependencies()[name]
    return found


def libraries_are_all_there_and_no_more(image):
    """The packages are those of the libraries that the programs name, less those of every Debian; with what these
    depend on, they hold every library that the loader will look for."""
    direct, every = set(), set()
    for program in (COTERIED, COTERIE):
        named, paths = linked(program)
        direct |= {owner(path) for path in named}
        every |= {owner(path) for path in paths}
    assert sorted(image.packages) == sorted(direct - {"libc6"}), (image.packages, direct)
    assert image.packages == sorted(image.packages)
    missing = every - closure(image.packages)
    assert not missing, missing


FILE, LIBRARIES, IGNORED = "Dockerfile", "runtime-packages", "Dockerfile.dockerignore"

# (check, what breaks it: file, text, its replacement)
CHECKS = [
    (stages, [(FILE, "FROM debian:12-slim\n", "FROM debian:12\n"), (LIBRARIES, "liburcu8", "liburcu-dev")]),
    (sources_exist, [(FILE, "COPY deploy/container/runtime-packages", "COPY deploy/runtime-packages"),
                     (FILE, "release/coterie ", "debug/coterie "), (IGNORED, "build", "tests"),
                     (IGNORED, "coterie-data", "deploy")]),
    (builds_what_it_copies, [(FILE, "coteried coterie \\", "coteried \\"), (FILE, "RUN deploy/", "RUN d/"),
                             (FILE, "--preset release", "--preset fast")]),
    (installs_cleanly, [(FILE, "--no-install-recommends", ""), (FILE, "rm -rf /var/lib/apt/lists/*", "true"),
                        (FILE, "RUN apt-get update", "RUN true"), (FILE, "STOPSIGNAL", "ADD x x\nSTOPSIGNAL")]),
    (runs_as_nobody, [(FILE, "USER 10001:10001", "USER coterie:coterie"), (FILE, "-m 0700", "-m 0777"),
                      (FILE, '["/usr/bin/coteried"]', "/usr/bin/coteried"), (FILE, "STOPSIGNAL SIGTERM", ""),
                      (FILE, "FROM debian:12-slim\n", "FROM debian:12-slim\nUSER 10001:10001\n")]),
    (settings_are_taken, [(FILE, "COTERIE_HTTP_ADDRESS", "COTERIE_HTTP"), (FILE, "0.0.0.0:7700", "7700"),
                          (FILE, "DATA_DIR=/var/lib/coterie", "DATA_DIR=/data"), (FILE, '"health"', '"healthy"')]),
    (fits_the_stateful_set, [(FILE, "USER 10001", "USER 10002"), (FILE, "EXPOSE 7700", "EXPOSE 7770"),
                             (FILE, "VOLUME /var/lib/coterie", "VOLUME /data"),
                             (FILE, "-t coterie:0.1.0", "-t coterie:latest")]),
    (libraries_are_all_there_and_no_more, [(LIBRARIES, "librocksdb7.8\n", ""),
                                           (LIBRARIES, "liburcu8\n", "liburcu8\nlibxxhash0\n")]),
]


def refuses(check, image):
    try:
        check(image)
    except (AssertionError, KeyError, ValueError, IndexError):
        return True
    return False


def main():
    manifest.need_kubectl()
    for tool in ("dpkg-query", "readelf", "ldd"):
        if shutil.which(tool) is None:
            print("skipped: there is no %s here" % tool)
            return SKIPPED
    texts = {name: read(name) for name in (FILE, LIBRARIES, IGNORED)}
    failures = refusals = 0
    for check, breaks in CHECKS:
        try:
            check(Image(*texts.values()))
            for name, text, other in breaks:
                assert text in texts[name], "%s has no %r" % (name, text)
                broken = {**texts, name: texts[name].replace(text, other, 1)}
                assert refuses(check, Image(*broken.values())), "does not notice %r for %r" % (other, text)
                refusals += 1
        except Exception as error:  # the others are still worth playing
            failures += 1
            print("FAILED %s: %s: %s" % (check.__name__, type(error).__name__, error))
    print("%d checks, %d failed; %d broken files refused" % (len(CHECKS), failures, refusals))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
