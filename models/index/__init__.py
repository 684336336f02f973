"""Nearest vectors: the FAISS indexes, their choice by measured recall, and their files."""
