from django.db import models


class Order(models.Model):
    path = models.CharField(max_length=100)
    made = models.DateTimeField(auto_now_add=True)
