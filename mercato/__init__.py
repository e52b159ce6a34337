"""The chassis: what every process of Mercato shares, and nothing that belongs to one service."""
