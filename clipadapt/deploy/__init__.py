"""Deployment: releases that are promoted and rolled back as one, whether new queries fit an old index, and drift."""
