"""CBIS-DDSM in every layout that users hold."""
