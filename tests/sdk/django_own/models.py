"""Tables of `django_program.py`."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=Decimal("1.50"))
    weight = models.FloatField(default=2.0)
    published = models.DateTimeField(default=datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC))
    day = models.DateField(default=date(2026, 3, 4))
    lasts = models.DurationField(default=timedelta(hours=1, microseconds=5))
    data = models.JSONField(default=dict)
    blob = models.BinaryField(default=b"\0\1")
    good = models.BooleanField(default=True)
