"""What a customer's contact hears, in the seven languages of the support programme. Pure.

Key 4 confirms that the notice was heard - it never acknowledges for the technician -, 5 asks for the next
contact, 1 repeats. A language that we do not speak gets English.
"""

from __future__ import annotations

import msgspec

from oncall.voice.twiml import spoken_number
from ticketing.published import Briefing


class Phrases(msgspec.Struct, frozen=True):
    """One language. ``notice`` takes name, customer, title, where and number; ``where`` takes host."""

    code: str
    """For the ``language`` attribute of ``<Say>``."""
    notice: str
    where: str
    menu: str
    wrong_key: str
    confirmed: str
    next_one: str
    over: str
    nothing: str


LANGUAGES = {
    "en": Phrases(
        "en-GB",
        "Hello {name}. This is an automatic notice of technical support for {customer}. A critical problem "
        "was found: {title}{where}. Ticket {number} is open and our technician on call is being alerted.",
        " on {host}",
        "Press 4 to confirm that you have heard this notice, 5 to have another contact called, 1 to repeat.",
        "That key means nothing here.",
        "Thank you. Your confirmation was recorded. Good bye.",
        "Understood. Another contact will be called. Good bye.",
        "This notice is no longer needed: the problem is being taken care of, or is over. Good bye.",
        "No key was pressed. Good bye.",
    ),
    "it": Phrases(
        "it-IT",
        "Buongiorno {name}. Questo è un avviso automatico dell'assistenza tecnica per {customer}. È stato "
        "rilevato un problema critico: {title}{where}. Il ticket {number} è aperto e il nostro tecnico "
        "reperibile viene avvisato.",
        " su {host}",
        "Prema 4 per confermare l'ascolto, 5 per far chiamare un altro contatto, 1 per ripetere.",
        "Questo tasto non è valido.",
        "Grazie. La conferma è stata registrata. Arrivederci.",
        "Va bene. Verrà chiamato un altro contatto. Arrivederci.",
        "Questo avviso non è più necessario: il problema è in gestione o è risolto. Arrivederci.",
        "Nessun tasto è stato premuto. Arrivederci.",
    ),
    "fr": Phrases(
        "fr-FR",
        "Bonjour {name}. Ceci est un avis automatique de l'assistance technique pour {customer}. Un problème "
        "critique a été détecté : {title}{where}. Le ticket {number} est ouvert et notre technicien "
        "d'astreinte est alerté.",
        " sur {host}",
        "Appuyez sur 4 pour confirmer, sur 5 pour faire appeler un autre contact, sur 1 pour répéter.",
        "Cette touche n'est pas valable.",
        "Merci. Votre confirmation est enregistrée. Au revoir.",
        "Entendu. Un autre contact sera appelé. Au revoir.",
        "Cet avis n'est plus nécessaire : le problème est pris en charge ou résolu. Au revoir.",
        "Aucune touche n'a été pressée. Au revoir.",
    ),
    "de": Phrases(
        "de-DE",
        "Guten Tag {name}. Dies ist eine automatische Meldung des technischen Supports für {customer}. Ein "
        "kritisches Problem wurde festgestellt: {title}{where}. Das Ticket {number} ist eröffnet und unser "
        "Bereitschaftstechniker wird alarmiert.",
        " auf {host}",
        "Drücken Sie 4 zur Bestätigung, 5, damit ein anderer Kontakt angerufen wird, 1 zur Wiederholung.",
        "Diese Taste ist nicht belegt.",
        "Danke. Ihre Bestätigung wurde erfasst. Auf Wiederhören.",
        "Verstanden. Ein anderer Kontakt wird angerufen. Auf Wiederhören.",
        "Diese Meldung ist nicht mehr nötig: Das Problem ist in Arbeit oder behoben. Auf Wiederhören.",
        "Es wurde keine Taste gedrückt. Auf Wiederhören.",
    ),
    "es": Phrases(
        "es-ES",
        "Hola {name}. Este es un aviso automático del soporte técnico para {customer}. Se ha detectado un "
        "problema crítico: {title}{where}. El tique {number} está abierto y se está avisando a nuestro "
        "técnico de guardia.",
        " en {host}",
        "Pulse 4 para confirmar que ha oído el aviso, 5 para que llamemos a otro contacto, 1 para repetir.",
        "Esa tecla no es válida.",
        "Gracias. Su confirmación ha quedado registrada. Adiós.",
        "Entendido. Llamaremos a otro contacto. Adiós.",
        "Este aviso ya no es necesario: el problema está siendo atendido o está resuelto. Adiós.",
        "No se ha pulsado ninguna tecla. Adiós.",
    ),
    "pt": Phrases(
        "pt-PT",
        "Bom dia {name}. Este é um aviso automático do suporte técnico para {customer}. Foi detetado um "
        "problema crítico: {title}{where}. O pedido {number} está aberto e o nosso técnico de prevenção está "
        "a ser avisado.",
        " em {host}",
        "Prima 4 para confirmar que ouviu o aviso, 5 para ligarmos a outro contacto, 1 para repetir.",
        "Essa tecla não é válida.",
        "Obrigado. A sua confirmação foi registada. Adeus.",
        "Entendido. Ligaremos a outro contacto. Adeus.",
        "Este aviso já não é necessário: o problema está a ser tratado ou está resolvido. Adeus.",
        "Não foi premida nenhuma tecla. Adeus.",
    ),
    "ar": Phrases(
        "arb",
        "مرحباً {name}. هذا إشعار آلي من الدعم الفني الخاص بـ {customer}. تم رصد مشكلة حرجة: {title}{where}. "
        "تم فتح التذكرة {number} ويجري الآن تنبيه الفني المناوب.",
        " على {host}",
        "اضغط 4 لتأكيد سماع الإشعار، أو 5 للاتصال بشخص آخر، أو 1 للإعادة.",
        "هذا المفتاح غير صالح.",
        "شكراً. تم تسجيل تأكيدك. مع السلامة.",
        "حسناً. سيتم الاتصال بشخص آخر. مع السلامة.",
        "لم يعد هذا الإشعار ضرورياً: المشكلة قيد المعالجة أو تم حلها. مع السلامة.",
        "لم يتم الضغط على أي مفتاح. مع السلامة.",
    ),
}


def phrases(language: str) -> Phrases:
    """The language's phrases, or English."""
    return LANGUAGES.get(language, LANGUAGES["en"])


def notice(name: str, briefing: Briefing, language: str) -> str:
    """The spoken notice for a customer's contact."""
    said = phrases(language)
    return said.notice.format(
        name=name,
        customer=briefing.customer,
        title=briefing.title.rstrip(". "),
        where=said.where.format(host=briefing.host) if briefing.host else "",
        number=spoken_number(briefing.number),
    )
