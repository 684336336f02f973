"""Nearest vectors: the FAISS indexes, and their choice by measured recall."""
