#!/usr/bin/env python3
"""Checks every #include of brume's own headers against the table of layers in docs/design/layers.md.

A module may include itself, base, and what its row names. Only a few files of http may include Beast or asio::ssl.
Prints each breach as file:line and fails if there is one.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = {
    'base': set(),
    'cel': set(),
    'http': set(),
    'linux': set(),
    'api': {'cel'},
    'store': {'http'},
    'runtime': {'linux', 'http'},
    'client': {'api', 'http'},
    'network': {'client', 'api', 'linux', 'http'},
    'node': {'client', 'api', 'runtime', 'linux', 'http'},
    'controller': {'client', 'api'},
    'scheduler': {'client', 'api'},
    'apiserver': {'store', 'api', 'cel', 'http'},
}
BEAST_FILES = 4  # at most so many files may pay for Beast and asio::ssl


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[2] if parts[0] == 'include' else parts[1]


def main() -> int:
    breaches = []
    beast = set()
    files = [p for top in ('include/brume', 'src') for p in (ROOT / top).rglob('*') if p.suffix in ('.h', '.cc')]
    for path in sorted(files):
        module = module_of(path)
        for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
            match = re.match(r'\s*#include\s+[<"]([^>"]+)[>"]', line)
            if not match:
                continue
            target = match.group(1)
            if target.startswith(('boost/beast', 'boost/asio/ssl')):
                beast.add(path)
                if module != 'http':
                    breaches.append(f'{path.relative_to(ROOT)}:{number}: only src/http may include {target}')
            parts = target.split('/')
            other = parts[1] if parts[0] == 'brume' else parts[0] if len(parts) > 1 and parts[0] in ALLOWED else None
            if other is None or other not in ALLOWED and other != 'cmd' or module == 'cmd' or other in (module, 'base'):
                continue
            if target.startswith('linux/') and not (ROOT / 'src' / target).exists():
                continue  # the kernel's own header
            if other not in ALLOWED[module]:
                breaches.append(f'{path.relative_to(ROOT)}:{number}: {module} may not include {target}')
    if len(beast) > BEAST_FILES:
        breaches.append(f'{len(beast)} files include Beast or asio::ssl, {BEAST_FILES} may: ' +
                        ', '.join(str(p.relative_to(ROOT)) for p in sorted(beast)))
    for breach in breaches:
        print(breach)
    print(f'includes: {len(files)} files, {len(breaches)} breaches')
    return 1 if breaches else 0


if __name__ == '__main__':
    sys.exit(main())
