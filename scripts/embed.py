#!/usr/bin/env python3
"""Writes a C++ source that holds a file's bytes as a string: embed.py NAME INPUT OUTPUT.

The source defines `std::string_view brume::cmd::NAME()`.
"""
import pathlib
import sys


def main() -> None:
    name, source, target = sys.argv[1:4]
    data = pathlib.Path(source).read_text()
    lines = ',\n'.join(', '.join(str(b) for b in data.encode()[i:i + 32]) for i in range(0, len(data.encode()), 32))
    pathlib.Path(target).write_text(
        '#include <string_view>\n\nnamespace brume::cmd {\n\nnamespace {\n'
        f'constexpr unsigned char kBytes[] = {{{lines}}};\n}}  // namespace\n\n'
        f'std::string_view {name}() {{ return {{reinterpret_cast<const char*>(kBytes), sizeof kBytes}}; }}\n\n'
        '}  // namespace brume::cmd\n')


if __name__ == '__main__':
    main()
