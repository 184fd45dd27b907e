"""Deployment: releases that are promoted and rolled back as one, and whether new queries fit an old index."""
