"""One search by several drivers: processes of one machine or many, on one study in a database."""
