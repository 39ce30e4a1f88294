"""Change feeds of databases, decoded into mods. A feed knows its own format and nothing about tables here."""
