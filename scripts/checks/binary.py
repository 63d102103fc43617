#!/usr/bin/env python3
"""Checks the built binary and the build's own log: checks/binary.py [BUILD_DIR]

The binary is static (no interpreter, no needed library), stripped, and at most 16 MiB; no source takes over 25 s to compile. The
build's log has wall-clock times, which other work on the machine lengthens: what it lists as too slow is compiled once more, and
the processor time of that counts.
"""
import json
import pathlib
import resource
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_BYTES = 16 * 1024 * 1024
MAX_COMPILE_MS = 25_000


def compile_ms(build: pathlib.Path, output: str) -> float:
    """Processor time of compiling one object again, in ms; 0 for what is no longer built."""
    commands = json.loads((build / 'compile_commands.json').read_text())
    entry = next((c for c in commands if c['output'] == output), None)
    if entry is None:
        return 0
    words = shlex.split(entry['command'])
    words[words.index('-o') + 1] = '/dev/null'
    if '-MF' in words:
        words[words.index('-MF') + 1] = '/dev/null'
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(words, cwd=build, check=True)
    return (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) * 1000


def main() -> int:
    build = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'build'
    binary = build / 'brume'
    failures = []
    headers = subprocess.run(['readelf', '-ldS', '-W', str(binary)], capture_output=True, text=True, check=True).stdout
    if 'INTERP' in headers or '(NEEDED)' in headers:
        failures.append('the binary is not static')
    if '.symtab' in headers:
        failures.append('the binary is not stripped')
    size = binary.stat().st_size
    if size > MAX_BYTES:
        failures.append(f'the binary has {size} bytes, {MAX_BYTES} are allowed')
    slowest = (0, '')
    for line in (build / '.ninja_log').read_text().splitlines():
        fields = line.split('\t')
        if len(fields) < 4 or not fields[3].endswith('.o'):
            continue
        took = int(fields[1]) - int(fields[0])
        if took > MAX_COMPILE_MS:
            took = int(compile_ms(build, fields[3]))
        slowest = max(slowest, (took, fields[3]))
        if took > MAX_COMPILE_MS:
            failures.append(f'{fields[3]} took {took / 1000:.1f} s to compile')
    for failure in failures:
        print(failure)
    print(f'binary: {size / 1048576:.1f} MiB; slowest source: {slowest[1]} {slowest[0] / 1000:.1f} s')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
