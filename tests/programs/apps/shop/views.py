from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse

from .models import Order


def order(request: HttpRequest, number: int) -> JsonResponse:
    """Insert an order and read it again; the database sleeps for the query's "delay" seconds."""
    with transaction.atomic():
        made = Order.objects.create(path=request.path)
        if delay := float(request.GET.get("delay", 0)):
            with connection.cursor() as cursor:
                cursor.execute("select pg_sleep(%s)", [delay])
    kept = Order.objects.get(pk=made.pk)
    return JsonResponse({"path": kept.path})


def count(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"orders": Order.objects.count()})
